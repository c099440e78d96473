use super::super::format::File;
use super::*;

/// Returns a valid scenario that holds an example.
fn scenario(entry: &Entry) -> String {
    let example = &entry.example;
    match entry.name {
        "scenario" => example.clone(),
        "workload" => format!("{BASE}{example}"),
        "workload.task" => format!("{BASE}[workload]\ncompute = \"1s\"\n{example}"),
        "fetch" => format!("{BASE}{WORKLOAD}[[file]]\nbytes = 9\nholders = [\"n0\"]\n{example}"),
        "swarm" => format!("{BASE}{WORKLOAD}[[fault]]\nat = \"1s\"\nkind = \"leave\"\n{example}"),
        _ => format!("{BASE}{WORKLOAD}{example}"),
    }
}

#[test]
fn every_example_is_valid_and_every_entry_has_a_meaning() {
    for entry in Topic::ALL.into_iter().flat_map(Topic::entries) {
        let text = scenario(&entry);
        let parsed = Scenario::parse("example.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let name = entry.name;
        assert!(entry.meaning.ends_with('.') && entry.meaning.len() > 10, "{name}: {}", entry.meaning);
        match entry.topic {
            Topic::Faults => {
                assert_eq!(parsed.faults[0].kind.name(), name);
                assert!(entry.executors.contains(&Executor::EventQueue), "{name}");
            }
            Topic::Attacks => assert_eq!(parsed.hosts[0].hostile[0].name(), name),
            Topic::Events => assert_eq!(parsed.expect.sometimes, [name]),
            Topic::Properties => assert_eq!(parsed.expect.always, [name]),
            Topic::Alerts => assert_eq!(parsed.expect.alerts[0].name(), name),
            Topic::Outcomes => assert_eq!(parsed.expect.outcomes.keys().next().unwrap().name(), name),
            Topic::Sections => {}
        }
    }
}

#[test]
fn every_key_of_a_fault_is_needed_or_optional_as_the_table_says() {
    for kind in FaultKind::ALL {
        let all = fault_example(*kind);
        for key in kind.keys().all() {
            let without: String = all
                .lines()
                .filter(|line| !line.starts_with(&format!("{key} = ")))
                .map(|line| format!("{line}\n"))
                .collect();
            let parsed = Scenario::parse("example.toml", &format!("{BASE}{WORKLOAD}{without}"));
            assert_eq!(parsed.is_err(), kind.keys().needed.contains(&key), "{key} of {}", kind.name());
        }
        // A key of another kind is refused.
        for key in SECTIONS.iter().find(|section| section.name == "fault").unwrap().keys {
            if !["at", "kind", "probability"].contains(&key.name)
                && kind.keys().all().all(|own| own != key.name)
            {
                let more = format!("{BASE}{WORKLOAD}{all}{} = {}\n", key.name, key.example);
                let error = Scenario::parse("example.toml", &more).unwrap_err().to_string();
                assert!(error.contains(&format!("takes no `{}`", key.name)), "{error}");
            }
        }
    }
}

#[test]
fn every_section_and_key_of_the_reader_is_in_the_manual() {
    for section in SECTIONS {
        let entry = Topic::Sections.entry(section.name);
        let text = scenario(&entry);
        // The reader lists the keys that it knows.
        let at = text.rfind(&section.header.to_owned()).unwrap() + section.header.len();
        let (before, after) = text.split_at(at);
        let text = format!("{before}\nxyzzy = 1\n{after}");
        let error = toml::from_str::<File>(&text).unwrap_err();
        let words: Vec<&str> = error.message().split('`').skip(1).step_by(2).collect();
        assert_eq!(words[0], "xyzzy", "{error}");
        let known: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
        assert_eq!(known, words[1..], "{}", section.name);
    }
}

#[test]
fn a_name_with_two_meanings_has_two_entries() {
    let topics: Vec<_> = entries("disk_full").iter().map(|entry| entry.topic).collect();
    assert_eq!(topics, [Topic::Faults, Topic::Events]);
    assert!(entries("crash").is_empty());
    assert_eq!(suggestions("crash").0, ["kill", "power_loss", "inference_crash", "failed"]);
}
