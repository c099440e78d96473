//! Progress bars on standard error, only on a terminal that accepts colour.

use crate::output;
use crate::terminal;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::time::Duration;

/// Creates a bar that counts to `length`.
pub(crate) fn bar(length: u64, what: &str) -> ProgressBar {
    let template = format!("{{bar:32}} {{human_pos}}/{{human_len}} {what}  {{rate}}  {{eta}} left  {{msg}}");
    shown(ProgressBar::hidden(), Some(length), &template)
}

/// Creates a bar of received bytes. It shows once its length is set.
pub(crate) fn bytes() -> ProgressBar {
    shown(ProgressBar::hidden(), Some(0), BYTES)
}

/// Creates a spinner with a message.
pub(crate) fn spinner() -> ProgressBar {
    shown(ProgressBar::hidden(), None, "{spinner} {elapsed}  {msg}")
}

fn shown(bar: ProgressBar, length: Option<u64>, template: &str) -> ProgressBar {
    if output::is_quiet() || !terminal::stderr_takes_colour() {
        return bar;
    }
    if let Some(length) = length {
        bar.set_length(length);
    }
    if let Ok(style) = ProgressStyle::with_template(template) {
        let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            // The bar has nowhere to report an error.
            let _ = write!(text, "{:.1}/s", state.per_sec());
        };
        let style = style.with_key("rate", rate);
        bar.set_style(style.progress_chars("━╸ "));
    }
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
    bar.enable_steady_tick(TICK);
    bar
}

const BYTES: &str =
    "{bar:32} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left  {msg}";
const REDRAWS_PER_SECOND: u8 = 10;
const TICK: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_sound() {
        for template in
            ["{bar:32} {human_pos}/{human_len} seeds  {rate}  {eta} left  {msg}", BYTES, "{spinner}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
