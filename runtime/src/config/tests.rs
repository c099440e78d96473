//! Tests of loading a configuration: accepted and rejected values, and their sources.

use super::*;
use serde_json::json;

struct Fixture {
    _directory: tempfile::TempDir,
    home: Home,
    overrides: Overrides,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path()).unwrap();
        home.create().unwrap();
        Self { _directory: directory, home, overrides: Overrides::default() }
    }

    fn file(self, text: &str) -> Self {
        fs::write(self.home.config_file(), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.overrides.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &'static str, value: Value) -> Self {
        self.overrides.flags.push((key, value, "--flag"));
        self
    }

    fn load(&self) -> Result<Effective, ConfigError> {
        load(&self.home, &self.overrides)
    }

    fn problems(&self) -> Vec<Problem> {
        match self.load() {
            Err(ConfigError::Invalid(problems)) => problems,
            other => panic!("expected problems, got {other:?}"),
        }
    }
}

/// To update the table: `INSTA_UPDATE=always cargo test -p p2p-ai-agents-runtime --lib page_of_settings`.
#[test]
fn the_page_of_settings_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- settings: begin -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- settings: end -->").unwrap();
    let row = |field: &Field| {
        let (default, allowed) = ((field.default)(), field.kind.allowed());
        let allowed = allowed.trim_start_matches("allowed: ");
        let flag = field.flag.map_or_else(String::new, |flag| format!("`{flag}`"));
        let (key, meaning, variable) = (field.key, field.meaning, field.variable);
        format!("| `{key}` | `{default}` | {allowed} | {meaning} | `{variable}` | {flag} |\n")
    };
    let rows: String = FIELDS.iter().map(row).collect();
    let head = "| setting | default | allowed | meaning | variable | flag |\n|---|---|---|---|---|---|\n";
    let current = format!("{before}<!-- settings: begin -->\n{head}{rows}<!-- settings: end -->{after}");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(path, &current).unwrap();
    }
    assert!(
        page == current,
        "INSTA_UPDATE=always cargo test -p p2p-ai-agents-runtime --lib page_of_settings"
    );
}

#[test]
fn the_file_of_a_home_holds_what_the_user_set() {
    let fixture = Fixture::new();
    let first = fixture.load().unwrap();
    assert_eq!(fs::read_to_string(fixture.home.config_file()).unwrap(), "{}\n");
    let second = fixture.load().unwrap();
    assert_eq!(first, second);
    assert_eq!(first.settings.port, 9000);
    assert_eq!(first.settings.storage_path, fixture.home.root().join("data"));
    assert_eq!(second.sources["max_peers"], Source::Default);
    assert!(!second.is_explicit("api_port"));

    // An earlier version wrote every default. The user has changed one of them.
    let key = |field: &Field| if field.key == "port" { "network_port" } else { field.key }.to_owned();
    let mut generated: Map<String, Value> =
        FIELDS.iter().map(|field| (key(field), (field.default)())).collect();
    generated.insert("max_peers".to_owned(), json!(7));
    let fixture = fixture.file(&Value::Object(generated).to_string());
    let shown = preview(&fixture.home, &fixture.overrides).unwrap();
    assert_eq!((&shown.sources["api_port"], shown.settings.max_peers), (&Source::Default, 7));
    assert!(
        fs::read_to_string(fixture.home.config_file()).unwrap().contains("api_port"),
        "a preview writes nothing"
    );
    assert_eq!(fixture.load().unwrap(), shown);
    assert_eq!(fs::read_to_string(fixture.home.config_file()).unwrap(), "{\n  \"max_peers\": 7\n}\n");
}

#[test]
fn earlier_names_of_the_port_are_read() {
    let port = |fixture: Fixture| fixture.load().unwrap().settings.port;
    assert_eq!(port(Fixture::new().file(r#"{"network_port": 2001}"#)), 2001);
    assert_eq!(port(Fixture::new().file(r#"{"network_port": 2001, "port": 2002}"#)), 2002);
    for variable in ["P2P_AI_NODE_PORT", "P2P_AI_NETWORK_PORT", "P2P_AI_PORT"] {
        assert_eq!(port(Fixture::new().variable(variable, "2003")), 2003);
        let both = Fixture::new().variable("P2P_AI_PORT", "2004").variable(variable, "2003");
        assert_eq!(port(both), if variable == "P2P_AI_PORT" { 2003 } else { 2004 });
    }
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let fixture = Fixture::new().file(r#"{"port": 2001, "max_peers": 1, "api_port": 3001}"#);
    let fixture = fixture.variable("P2P_AI_PORT", "2002").variable("P2P_AI_MAX_PEERS", "2");
    let effective = fixture.flag("port", json!(2003)).load().unwrap();
    let settings = &effective.settings;
    assert_eq!((settings.port, settings.max_peers, settings.api_port), (2003, 2, 3001));
    assert_eq!(effective.sources["port"], Source::Flag("--flag"));
    assert_eq!(effective.sources["max_peers"], Source::Environment("P2P_AI_MAX_PEERS"));
    assert_eq!(effective.sources["network"], Source::Default);
    assert!(effective.is_explicit("api_port") && !effective.is_explicit("network"));
}

#[test]
fn no_password_or_path_of_a_url_is_shown() {
    let urls = [("P2P_AI_ALERT_WEBHOOK", "alert_webhook"), ("P2P_AI_OTLP_ENDPOINT", "otlp_endpoint")];
    for (variable, key) in urls {
        for wrong in ["http://user:swordfish@host/", "htp://host/swordfish"] {
            let error = Fixture::new().variable(variable, wrong).load().unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains("swordfish"), "{error}");
        }
        let effective = Fixture::new().variable(variable, "http://host:1/swordfish").load().unwrap();
        let shown = effective.shown().into_iter().find(|shown| shown.key == key).unwrap();
        assert_eq!(shown.value, "http://host:1/…");
    }
}

#[test]
fn every_field_can_be_set_by_its_variable_and_in_toml() {
    let fixture = Fixture::new();
    let path = fixture.home.root().join("given.toml");
    fs::write(&path, "max_peers = 7\nbootstrap_peers = [\"127.0.0.1:9001\"]\n").unwrap();
    let mut fixture = FIELDS.iter().fold(fixture, |fixture, field| match field.key {
        "max_peers" | "bootstrap_peers" => fixture,
        "interfaces" => fixture.variable(field.variable, "lo, eth0"),
        "network" | "storage_path" => fixture.variable(field.variable, "elsewhere"),
        "log_level" => fixture.variable(field.variable, "debug"),
        "otlp_endpoint" => fixture.variable(field.variable, "http://[::1]:4318"),
        "models" => fixture.variable(field.variable, "owner/name:Q4_0, ./bert"),
        "max_cpu_percent" => fixture.variable(field.variable, "50"),
        "trace_sample" => fixture.variable(field.variable, "0.25"),
        "alert_webhook" => fixture.variable(field.variable, "http://127.0.0.1:9/alerts"),
        "alert_command" => fixture.variable(field.variable, r#"["/bin/notify", "--all"]"#),
        "discovery" | "run_models" | "cached_models" | "pull_on_demand" | "offline" | "local_time" => {
            fixture.variable(field.variable, "false")
        }
        "port" | "api_port" | "metrics_port" | "max_memory_mb" => fixture.variable(field.variable, "1024"),
        _ => fixture.variable(field.variable, "200"),
    });
    fixture.overrides.config_file = Some(path);
    let settings = fixture.load().unwrap().settings;
    assert_eq!(settings.bootstrap_peers, vec!["127.0.0.1:9001".parse().unwrap()]);
    assert_eq!(settings.interfaces, vec!["lo", "eth0"]);
    assert_eq!(
        (settings.network.as_str(), settings.discovery, settings.run_models),
        ("elsewhere", false, false)
    );
    assert_eq!((settings.log_level, settings.max_peers), (LogLevel::Debug, 7));
    assert_eq!((settings.port, settings.api_port, settings.max_memory_mb), (1024, 1024, 1024));
    assert_eq!((settings.max_concurrent_tasks, settings.health_check_interval_secs), (200, 200));
    let models: Vec<&str> = settings.models.iter().map(ModelEntry::name).collect();
    assert_eq!(models, ["owner/name:Q4_0", "bert"]);
    assert_eq!((settings.threads, settings.max_cpu_percent), (200, 50));
    assert_eq!(settings.trace_sample.millionths(), 250_000);
    assert_eq!(settings.alert_webhook.as_deref(), Some("http://127.0.0.1:9/alerts"));
    assert_eq!(settings.alert_command, ["/bin/notify", "--all"]);
    assert!(settings.storage_path.ends_with("elsewhere"));
    assert!(!fixture.home.config_file().exists(), "a named file stands in for the home's own");
}

#[test]
fn the_memory_of_a_container_bounds_the_default_and_nothing_that_was_asked_for() {
    let limit = |mb: u64| Some(MemoryLimit { bytes: mb << 20, file: "/cgroup/memory.max".into() });
    let loaded = |fixture: Fixture, mb| {
        let overrides = Overrides { memory_limit: limit(mb), ..fixture.overrides.clone() };
        let effective = load(&fixture.home, &overrides).unwrap();
        (effective.settings.max_memory_mb, effective.sources["max_memory_mb"].to_string(), effective.warnings)
    };
    let of_limit = |mb: u64| format!("memory limit of {mb} MB, /cgroup/memory.max");
    let (value, source, warnings) = loaded(Fixture::new(), 300);
    assert_eq!((value, source), (270, of_limit(300)));
    assert_eq!(
        warnings,
        ["max_memory_mb is 270; this container may have 300 MB of memory (/cgroup/memory.max)"]
    );
    assert_eq!(loaded(Fixture::new().file(r#"{"max_memory_mb": 512}"#), 300).0, 512);
    assert_eq!(loaded(Fixture::new(), 2_000), (512, "default".to_owned(), Vec::new()));
    let (value, source, warnings) = loaded(Fixture::new().variable("P2P_AI_MAX_MEMORY_MB", "1000"), 300);
    assert_eq!((value, source.as_str()), (1000, "environment variable P2P_AI_MAX_MEMORY_MB"));
    assert!(warnings[0].ends_with(": the kernel may kill the node or its models"), "{warnings:?}");
    assert_eq!(loaded(Fixture::new().variable("P2P_AI_MAX_MEMORY_MB", "200"), 300).2, [""; 0]);
    let (value, _, warnings) = loaded(Fixture::new(), 64);
    assert_eq!(value, 128, "the least that there is");
    assert!(warnings[0].contains("64 MB") && warnings[0].contains("kill"), "{warnings:?}");
}

#[test]
fn all_that_is_wrong_is_reported_together() {
    let fixture = Fixture::new()
        .file(
            r#"{"port": 80, "max_peers": 300, "max_memory_mb": "lots", "max_pears": 3, "log_level": "LOUD"}"#,
        )
        .variable("P2P_AI_API_PORT", "http")
        .variable("P2P_AI_BOOTSTRAP_PEERS", "nowhere")
        .flag("storage_path", json!("/proc/self/status"));
    let problems = fixture.problems();
    let found: Vec<(&str, &str)> =
        problems.iter().map(|problem| (problem.code.as_str(), problem.field.as_str())).collect();
    assert_eq!(
        found,
        [
            ("log_level_invalid", "log_level"),
            ("max_memory_mb_invalid", "max_memory_mb"),
            ("unknown_key", "max_pears"),
            ("max_peers_exceeds_limit", "max_peers"),
            ("port_below_minimum", "port"),
            ("malformed_value", "api_port"),
            ("bootstrap_peers_invalid", "bootstrap_peers"),
            ("storage_path_unusable", "storage_path"),
        ]
    );
    let text = ConfigError::Invalid(problems).to_string();
    for part in [
        "the configuration has 8 errors",
        "max_peers = 300",
        "allowed: 1 to 256; suggested: 32",
        "did you mean max_peers?",
        "environment variable P2P_AI_API_PORT",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn numbers_at_the_edges() {
    for (value, code) in [
        (json!(0), "max_peers_below_minimum"),
        (json!(-1), "max_peers_below_minimum"),
        (json!(257), "max_peers_exceeds_limit"),
        (json!(1e300), "max_peers_exceeds_limit"),
        (json!(1.5), "max_peers_invalid"),
        (json!("32"), "max_peers_invalid"),
        (json!(null), "max_peers_invalid"),
    ] {
        let problems = Fixture::new().flag("max_peers", value.clone()).problems();
        assert_eq!(
            problems.iter().map(|problem| problem.code.as_str()).collect::<Vec<_>>(),
            [code],
            "{value}"
        );
    }
    for value in [1, 256] {
        Fixture::new().flag("max_peers", json!(value)).load().unwrap();
    }
}

#[test]
fn a_file_above_the_limit_is_refused_unread() {
    let fixture = Fixture::new();
    // A sparse file: reading a terabyte of it would never end.
    File::create(fixture.home.config_file()).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(fixture.load(), Err(ConfigError::TooLarge(_))));
    File::create(fixture.home.config_file()).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    let error = fixture.load().unwrap_err();
    assert!(error.to_string().starts_with("config_too_large"), "{error}");
    let padded = format!("{{}}{}", " ".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() - 2));
    fixture.file(&padded).load().unwrap();
}

#[test]
fn what_is_not_a_configuration_is_told_apart() {
    for text in ["", "{", "[1]", "null", "\"x\"", "{\"max_peers\": 1,}"] {
        let error = Fixture::new().file(text).load().unwrap_err();
        assert!(matches!(error, ConfigError::Malformed { .. }), "{text:?}: {error:?}");
    }
    let fixture = Fixture::new();
    fs::write(fixture.home.config_file(), [0xff, 0xfe]).unwrap();
    assert!(matches!(fixture.load(), Err(ConfigError::Malformed { .. })));
    let mut fixture = Fixture::new();
    fixture.overrides.config_file = Some(fixture.home.root().join("absent.json"));
    assert!(matches!(fixture.load(), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn a_mistyped_variable_is_an_error_and_a_foreign_one_is_not() {
    let problems = Fixture::new().variable("P2P_AI_MAX_PEER", "3").variable("P2P_AI_HOME", "x").problems();
    let text = ConfigError::Invalid(problems).to_string();
    assert!(text.contains("unknown_variable: P2P_AI_MAX_PEER = \"3\""), "{text}");
    assert!(text.contains("did you mean P2P_AI_MAX_PEERS?"), "{text}");
    let effective = Fixture::new().variable("P2P_AI_CLIENT_TIMEOUT", "3").load().unwrap();
    assert_eq!(
        effective.warnings,
        ["the environment variable P2P_AI_CLIENT_TIMEOUT is no setting and has no effect"]
    );
}

#[test]
fn a_byte_order_mark_in_front_of_a_file_is_no_part_of_it() {
    for (name, text) in [("a.json", r#"{"max_peers": 3}"#), ("a.toml", "max_peers = 3")] {
        let values = parse(Path::new(name), format!("\u{feff}{text}").as_bytes()).unwrap();
        assert_eq!(Value::Object(values), json!({"max_peers": 3}), "{name}");
    }
}

#[test]
fn a_list_in_a_variable_has_commas_or_is_json() {
    let models =
        |text: &str| Fixture::new().variable("P2P_AI_MODELS", text).load().map(|it| it.settings.models);
    let name = |name: &str| ModelEntry::Name(name.to_owned());
    let two = vec![name("all-MiniLM-L6-v2"), name("owner/name")];
    assert_eq!(models("all-MiniLM-L6-v2, owner/name").unwrap(), two);
    assert_eq!(models(r#" ["all-MiniLM-L6-v2", "owner/name"]"#).unwrap(), two);
    let full = models(r#"[{"model": "./bert", "name": "mine"}]"#).unwrap();
    assert_eq!((full.len(), full[0].model(), full[0].name()), (1, "./bert", "mine"));
    for bad in [r#"["all-MiniLM-L6-v2""#, "[a]", r#"{"model": "./bert"}"#] {
        let problems = Fixture::new().variable("P2P_AI_MODELS", bad).problems();
        let found: Vec<_> = problems.iter().map(|it| (it.code.as_str(), it.source.clone())).collect();
        assert_eq!(found, [("malformed_value", Source::Environment("P2P_AI_MODELS"))], "{bad}");
    }
    let fixture = Fixture::new()
        .variable("P2P_AI_INTERFACES", r#"["lo", "eth0"]"#)
        .variable("P2P_AI_BOOTSTRAP_PEERS", "[::1]:9000, 10.0.0.1:9000");
    let settings = fixture.load().unwrap().settings;
    assert_eq!(settings.interfaces, ["lo", "eth0"]);
    assert_eq!(settings.bootstrap_peers, ["[::1]:9000", "10.0.0.1:9000"].map(|it| it.parse().unwrap()));
}
