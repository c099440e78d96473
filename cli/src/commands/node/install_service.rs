//! `node install-service`: writes a systemd unit that starts, watches and stops the node.

use crate::error::{Failure, Outcome};
use crate::homes::SelectedHome;
use crate::output::{self, Format};
use clap::Args;
use nix::unistd::{User, geteuid};
use serde_json::json;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Write a system unit, which runs the node from the start of the machine
    #[arg(long)]
    pub(crate) system: bool,
    /// User that a system unit runs the node as [default: the user who called sudo, or else the current one]
    #[arg(long, value_name = "USER", requires = "system")]
    pub(crate) run_as: Option<String>,
    /// Write a user unit (the default)
    #[arg(long, conflicts_with = "system")]
    pub(crate) user: bool,
    /// Print the unit without writing it
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) fn run(home: &SelectedHome, arguments: &Arguments) -> Outcome {
    let program = std::env::current_exe()?;
    let system = arguments.system && !arguments.user;
    let owner = if system { Some(owner(arguments.run_as.as_deref())?) } else { None };
    let home = match &owner {
        // With sudo, the default home is the one of root.
        Some(owner) if home.0.is_none() => owner.dir.join(".p2p-ai-agents"),
        Some(_) | None => home.open()?.root().to_owned(),
    };
    let unit = unit(&program, &home, owner.as_ref())?;
    if arguments.print {
        output::write(unit.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(owner) = &owner {
        create_directories(owner, &home)?;
    }
    let path = unit_path(system)?;
    let older = keep_older(&path, &unit)?;
    write(&path, &unit).map_err(|error| {
        // Nothing was replaced, so no copy is needed.
        older.as_deref().map(fs::remove_file);
        let failure = Failure::new(format!("cannot write {}", path.display()))
            .id("output_failed")
            .because(Some(&error));
        if system {
            failure.hint("a system unit needs root: use sudo, or leave out --system for a user unit")
        } else {
            failure
        }
    })?;
    let user = if system { "" } else { " --user" };
    let start = format!("systemctl{user} daemon-reload && systemctl{user} enable --now {UNIT}");
    if arguments.format.json {
        output::json(&json!({ "file": path, "kept": older, "start": start }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("Written: {}", path.display()))?;
    if let Some(owner) = &owner {
        output::notice(&format!(
            "The node will run as {}, with its files in {}",
            owner.name,
            home.display()
        ))?;
        if owner.uid.is_root() {
            output::notice("A node needs no rights of root: name another user with --run-as USER")?;
        }
    }
    if let Some(older) = older {
        output::notice(&format!("The previous unit was kept as {}", older.display()))?;
    }
    output::notice(&format!(
        "To start it now and with {}, run: {start}",
        if system { "the machine" } else { "your sessions" }
    ))?;
    if !arguments.system {
        output::notice("To keep it running after you log out, run: loginctl enable-linger")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Links a unit that differs from the new one to a second name, because a user may have edited it, and returns that
/// name. The unit stays in place until the new one replaces it. Earlier copies are never replaced.
fn keep_older(path: &Path, unit: &str) -> Result<Option<PathBuf>, Failure> {
    let older = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(metadata) if metadata.is_file() => fs::read(path)?,
        // A masked unit is a link to `/dev/null`.
        Ok(_) => return Err(not_ours(path)),
    };
    if older.is_empty() || older == unit.as_bytes() {
        return Ok(None);
    }
    if !older.starts_with(TEMPLATE.lines().next().unwrap_or_default().as_bytes()) {
        return Err(not_ours(path));
    }
    let mut number = 1_u32;
    loop {
        let extension = if number == 1 { "old".to_owned() } else { format!("old-{number}") };
        let kept = path.with_added_extension(extension);
        match fs::hard_link(path, &kept) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            linked => return Ok(linked.map(|()| Some(kept))?),
        }
    }
}

fn not_ours(path: &Path) -> Failure {
    Failure::new(format!("{} was not written by this command", path.display()))
        .id("file_exists")
        .hint("move it away; nothing was changed")
}

fn unit_path(system: bool) -> Result<PathBuf, Failure> {
    if system {
        return Ok(Path::new("/etc/systemd/system").join(UNIT));
    }
    let configuration =
        std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let configuration = configuration.or_else(|| Some(std::env::home_dir()?.join(".config")));
    let configuration =
        configuration.ok_or_else(|| Failure::new("there is no home directory").id("home_unusable"))?;
    Ok(configuration.join("systemd/user").join(UNIT))
}

/// Returns the user of a system unit.
fn owner(named: Option<&str>) -> Result<User, Failure> {
    let unknown = |name: &str| {
        Failure::new(format!("there is no user {name:?} on this machine"))
            .id("user_unknown")
            .hint("name one of this machine with --run-as, or create it with: useradd --create-home NAME")
    };
    let by_name = |name: &str| User::from_name(name).ok().flatten().ok_or_else(|| unknown(name));
    if let Some(name) = named {
        return by_name(name);
    }
    match std::env::var("SUDO_USER") {
        Ok(name) if geteuid().is_root() && !name.is_empty() => by_name(&name),
        Ok(_) | Err(_) => {
            let me = geteuid();
            User::from_uid(me).ok().flatten().ok_or_else(|| unknown(&me.to_string()))
        }
    }
}

/// Creates the directories that the unit lets the node write to, as their owner would: systemd does not start a unit
/// without them.
fn create_directories(owner: &User, home: &Path) -> Result<(), Failure> {
    for directory in [home.to_owned()].into_iter().chain(caches(owner)) {
        let mut missing: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
        while let Some(path) = missing.pop() {
            let created = DirBuilder::new().mode(0o700).create(path).and_then(|()| {
                std::os::unix::fs::chown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
            });
            created.map_err(|error| {
                Failure::new(format!("cannot create {} for {}", path.display(), owner.name))
                    .id("output_failed")
                    .because(Some(&error))
                    .hint("a system unit needs root: use sudo, or leave out --system for a user unit")
            })?;
        }
    }
    Ok(())
}

/// Returns the directories of models and of packed weights, which the commands of the user share with the node.
fn caches(owner: &User) -> [PathBuf; 2] {
    ["huggingface", "p2p-ai-agents"].map(|name| owner.dir.join(".cache").join(name))
}

/// Fills in the template. A system unit has an owner.
fn unit(program: &Path, home: &Path, owner: Option<&User>) -> Result<String, Failure> {
    let (identity, system_only, wanted_by) = match owner {
        None => ("# It runs as the user whose unit it is.".to_owned(), String::new(), "default.target"),
        Some(owner) => {
            let [models, packed] = caches(owner);
            let directories = [quote(home)?, quote(&models)?, quote(&packed)?].join(" ");
            let system_only = SYSTEM_ONLY.replace("{directories}", &directories);
            (format!("User={}", owner.name), system_only, "multi-user.target")
        }
    };
    Ok(TEMPLATE
        .replace("{identity}", &identity)
        .replace("{system_only}", &system_only)
        .replace("{wanted_by}", wanted_by)
        .replace("{program}", &quote(program)?)
        .replace("{home}", &quote(home)?))
}

/// Quotes a path as one word of a unit.
fn quote(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| {
        Failure::new(format!("a systemd unit cannot contain the path {}", path.display())).id("home_unusable")
    })?;
    let text = text.replace('%', "%%");
    if text.contains([' ', '"', '\'', '\\', '$']) {
        Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$")))
    } else {
        Ok(text)
    }
}

fn write(path: &Path, unit: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    runtime::home::replace_file(path, unit.as_bytes(), 0o644)
}

/// Settings that only the system manager may apply.
const SYSTEM_ONLY: &str = "\
# The list of running nodes, which `node list` reads, is in /run/p2p-ai-agents.
RuntimeDirectory=p2p-ai-agents
RuntimeDirectoryMode=0700
Environment=XDG_RUNTIME_DIR=/run
CapabilityBoundingSet=
AmbientCapabilities=
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectHome=read-only
# The node's files, the models of the Hugging Face hub, and weights in the form of the kernels.
ReadWritePaths={directories}
ProtectProc=invisible
RemoveIPC=yes
MemoryDenyWriteExecute=yes
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
";
const UNIT: &str = "p2p-ai-agents.service";
const TEMPLATE: &str = include_str!("../../../service/p2p-ai-agents.service");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word_and_nothing_is_left_open() {
        assert_eq!(quote(Path::new("/usr/bin/x")).unwrap(), "/usr/bin/x");
        assert_eq!(quote(Path::new("/a b/100%/\"q\"")).unwrap(), "\"/a b/100%%/\\\"q\\\"\"");
        assert!(quote(Path::new("/a\nb")).is_err());
        let owner = User { name: "ada".to_owned(), dir: "/home/ada".into(), ..owner(None).unwrap() };
        let of_system = unit(Path::new("/x"), Path::new("/h"), Some(&owner)).unwrap();
        let directories = "ReadWritePaths=/h /home/ada/.cache/huggingface /home/ada/.cache/p2p-ai-agents";
        for line in ["User=ada", directories] {
            assert!(of_system.lines().any(|of_unit| of_unit == line), "{line}: {of_system}");
        }
        assert!(!of_system.contains('{'), "{of_system}");
        let unit = unit(Path::new("/x"), Path::new("/h"), None).unwrap();
        assert!(!unit.contains('{'), "{unit}");
        assert!(!unit.contains("ProtectSystem"), "a user's manager may not");
        assert!(unit.contains("ExecStart=/x --home /h node start --foreground\n"), "{unit}");
    }
}
