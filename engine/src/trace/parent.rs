//! The trace context of a client, as its HTTP headers `traceparent` and `tracestate` give it.
//!
//! Follows W3C Trace Context, <https://www.w3.org/TR/trace-context/>. A `traceparent` that does not follow it counts as
//! none, so the task begins a trace of its own. The same holds for the `tracestate` alone.

use super::{Caller, SpanId};
use crate::ids::TraceId;

/// The trace that a client's request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The client's span, whether the trace is kept, and the `tracestate`.
    pub caller: Caller,
}

impl TraceParent {
    /// Parses a `traceparent`, without its `tracestate`; `None` if it is invalid.
    ///
    /// Later versions of the format may append fields, so only their beginning is read.
    pub fn parse(header: &str) -> Option<Self> {
        let version = hex::<1>(header.get(..2)?)?;
        let rest = header.get(2..)?.strip_prefix('-')?;
        let (trace, rest) = (hex::<16>(rest.get(..32)?)?, rest.get(32..)?.strip_prefix('-')?);
        let (parent, rest) = (hex::<8>(rest.get(..16)?)?, rest.get(16..)?.strip_prefix('-')?);
        let (flags, rest) = (hex::<1>(rest.get(..2)?)?, rest.get(2..)?);
        let ends = rest.is_empty() || version != [VERSION] && rest.starts_with('-');
        if version == [VERSION_FORBIDDEN] || trace == [0; 16] || parent == [0; 8] || !ends {
            return None;
        }
        let sampled = flags[0] & SAMPLED != 0;
        let caller = Caller { parent: Some(SpanId(parent)), sampled, state: String::new() };
        Some(Self { trace: TraceId(trace), caller })
    }

    /// Sets the `tracestate` from its header lines, in order. It stays empty if they are malformed. Members that exceed
    /// the size are dropped: first long ones, then the last ones.
    pub fn set_state<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        self.caller.state = parse_state(lines).unwrap_or_default();
    }
}

/// Returns the `traceparent` that names this span.
pub fn traceparent(trace: TraceId, span: SpanId, sampled: bool) -> String {
    format!("{VERSION:02x}-{trace}-{span}-{:02x}", u8::from(sampled))
}

fn parse_state<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut members: Vec<&str> = Vec::new();
    let mut read = 0_usize;
    for line in lines {
        read = read.saturating_add(line.len());
        if read > STATE_BYTES_READ_MAX {
            return None;
        }
        for member in line.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            // Empty members are allowed.
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let known =
                members.iter().any(|other| other.split_once('=').is_some_and(|(other, _)| other == key));
            if known || !is_key(key) || !is_value(value) || members.len() >= STATE_MEMBERS_MAX {
                return None;
            }
            members.push(member);
        }
    }
    let size =
        |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while size(&members) > STATE_BYTES_MAX {
        let long = members.iter().rposition(|member| member.len() > STATE_MEMBER_LONG);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    Some(members.join(","))
}

fn is_key(key: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let begins = key.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    begins && key.len() <= 256 && key.bytes().all(is_allowed)
}

fn is_value(value: &str) -> bool {
    // Printable ASCII without the separators; spaces only inside.
    let is_allowed = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    !value.is_empty() && value.len() <= 256 && value.bytes().all(is_allowed)
}

/// Decodes lower-case hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// The version of the format that this module writes.
const VERSION: u8 = 0;
/// The version that no format may have.
const VERSION_FORBIDDEN: u8 = 0xff;
/// The flag of a trace that is kept.
const SAMPLED: u8 = 1;
/// Maximum size of a `tracestate` that is kept, in bytes.
const STATE_BYTES_MAX: usize = 512;
/// Maximum size of the header lines that are read, in bytes.
const STATE_BYTES_READ_MAX: usize = 8_192;
/// Maximum number of members of a `tracestate`.
const STATE_MEMBERS_MAX: usize = 32;
/// Longer members are dropped first.
const STATE_MEMBER_LONG: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn parse(header: &str) -> Option<TraceParent> {
        TraceParent::parse(header)
    }

    #[test]
    fn a_traceparent_of_this_version_is_read_whole() {
        let header = format!("00-{TRACE}-{SPAN}-01");
        let found = parse(&header).unwrap();
        assert_eq!((found.trace.to_string(), found.caller.sampled), (TRACE.to_owned(), true));
        let span = found.caller.parent.unwrap();
        assert_eq!(span.to_string(), SPAN);
        assert_eq!(traceparent(found.trace, span, true), header);
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            assert_eq!(parse(&format!("00-{TRACE}-{SPAN}-{flags}")).unwrap().caller.sampled, sampled);
        }
    }

    #[test]
    fn later_versions_are_read_by_their_beginning_and_the_forbidden_one_not() {
        assert!(parse(&format!("cc-{TRACE}-{SPAN}-01")).is_some());
        assert!(parse(&format!("01-{TRACE}-{SPAN}-01-what-comes-later")).unwrap().caller.sampled);
        assert_eq!(parse(&format!("01-{TRACE}-{SPAN}-01.later")), None);
        assert_eq!(parse(&format!("00-{TRACE}-{SPAN}-01-later")), None);
        assert_eq!(parse(&format!("ff-{TRACE}-{SPAN}-01")), None);
    }

    #[test]
    fn malformed_headers_count_as_none() {
        let zeros = "0".repeat(32);
        for header in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-011"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("0A-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}é{SPAN}-01"),
        ] {
            assert_eq!(parse(&header), None, "{header:?}");
        }
    }

    fn state(lines: &[&str]) -> String {
        let mut parent = parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        parent.set_state(lines.iter().copied());
        parent.caller.state
    }

    #[test]
    fn a_tracestate_is_joined_and_dropped_if_malformed() {
        assert_eq!(
            state(&["rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE"]),
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
        );
        assert_eq!(state(&[" a=1 ,\t b@c=2 3,,", ""]), "a=1,b@c=2 3");
        for bad in ["a", "A=1", "=1", "a=", "a=1=2", "a=é", "a=1,a=2", "-a=1", "a =1"] {
            assert_eq!(state(&[bad]), "", "{bad:?}");
        }
        let members: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        assert_eq!(state(&[&members[..32].join(",")]), members[..32].join(","));
        assert_eq!(state(&[&members.join(",")]), "");
        assert_eq!(state(&["a=1", &"x".repeat(STATE_BYTES_READ_MAX)]), "");
    }

    #[test]
    fn a_long_tracestate_loses_long_members_first_and_then_the_last() {
        let long = format!("long={}", "x".repeat(200));
        let short: Vec<String> = (0..6).map(|n| format!("k{n}={}", "y".repeat(90))).collect();
        let kept = state(&[&long, &short.join(",")]);
        assert_eq!(kept, short[..5].join(","));
        assert!(kept.len() <= STATE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn parsing_is_total_and_bounded(header: String, lines: Vec<String>) {
            let _ = parse(&header);
            prop_assert!(state(&lines.iter().map(String::as_str).collect::<Vec<_>>()).len() <= STATE_BYTES_MAX);
        }
    }
}
