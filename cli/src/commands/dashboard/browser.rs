//! Opens an address in the browser of the user.
//!
//! The address has a login code, and other users of the machine see the arguments of a process. Therefore the browser
//! gets the path of a file that only its user can read, and that leads to the address.

use runtime::home;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Opens an address. The file that leads to it is written into `directory`.
///
/// # Errors
/// If this machine has no display or no program that opens files.
pub(super) fn open(directory: &Path, url: &str) -> io::Result<()> {
    if cfg!(not(target_os = "macos")) && !DISPLAYS.iter().any(|name| std::env::var_os(name).is_some()) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no display"));
    }
    let file = directory.join("dashboard.html");
    // The address has hexadecimal digits and no character with a meaning in HTML.
    let page = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"refresh\" content=\"0; url={url}\">\n\
         <title>p2p-ai-agents</title>\n<a href=\"{url}\">Open the dashboard</a>\n"
    );
    home::replace_file(&file, page.as_bytes(), 0o600)?;
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut child = Command::new(program)
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // It may run as long as the browser does.
    std::thread::spawn(move || child.wait());
    Ok(())
}

const DISPLAYS: [&str; 2] = ["DISPLAY", "WAYLAND_DISPLAY"];
