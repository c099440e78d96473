//! `node install-service`: writes a systemd unit that starts, watches and stops the node.

use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use clap::Args;
use nix::unistd::{User, geteuid};
use runtime::home::Home;
use serde_json::json;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Write a system unit, which runs the node as the current user
    #[arg(long)]
    pub(crate) system: bool,
    /// Write a user unit (the default)
    #[arg(long, conflicts_with = "system")]
    pub(crate) user: bool,
    /// Print the unit without writing it
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) fn run(home: &Home, arguments: &Arguments) -> Outcome {
    let program = std::env::current_exe()?;
    let system = arguments.system && !arguments.user;
    let unit = unit(&program, home.root(), system)?;
    if arguments.print {
        output::write(unit.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
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
            failure.hint("a system unit needs root; leave out --system for a user unit")
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

/// Fills in the template.
fn unit(program: &Path, home: &Path, system: bool) -> Result<String, Failure> {
    let (program, home) = (quote(program)?, quote(home)?);
    let user = if system {
        let name =
            User::from_uid(geteuid()).ok().flatten().map_or_else(|| "root".to_owned(), |user| user.name);
        format!("User={name}")
    } else {
        "# It runs as the user whose unit it is.".to_owned()
    };
    let (system_only, wanted_by) =
        if system { (SYSTEM_ONLY, "multi-user.target") } else { ("", "default.target") };
    Ok(TEMPLATE
        .replace("{identity}", &user)
        .replace("{system_only}", system_only)
        .replace("{wanted_by}", wanted_by)
        .replace("{program}", &program)
        .replace("{home}", &home))
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
CapabilityBoundingSet=
AmbientCapabilities=
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={home}
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
        let of_system = unit(Path::new("/x"), Path::new("/h"), true).unwrap();
        assert!(of_system.contains("\nReadWritePaths=/h\n") && !of_system.contains('{'), "{of_system}");
        let unit = unit(Path::new("/x"), Path::new("/h"), false).unwrap();
        assert!(!unit.contains('{'), "{unit}");
        assert!(!unit.contains("ProtectSystem"), "a user's manager may not");
        assert!(unit.contains("ExecStart=/x --home /h node start --foreground\n"), "{unit}");
    }
}
