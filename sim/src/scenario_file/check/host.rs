//! Checks the hosts of a scenario file: nodes that differ from the others.

use super::Source;
use crate::scenario::{Host, Range};
use crate::scenario_file::error::ScenarioError;
use crate::scenario_file::format as file;
use core::time::Duration;
use engine::wire::PROTOCOL_VERSION;
use std::collections::BTreeSet;
use toml::Spanned;

impl Source<'_> {
    pub(super) fn hosts(
        &self,
        sections: &[Spanned<file::Host>],
        nodes: u32,
        start: Range,
        quiet: Duration,
    ) -> Result<Vec<Host>, ScenarioError> {
        let mut hosts: Vec<Host> = Vec::new();
        for section in sections {
            let host = self.host(section, nodes, quiet)?;
            if hosts.iter().any(|other| other.node == host.node) {
                let words = format!("n{} has two `[[host]]` sections", host.node);
                return Err(self.inconsistent(&section.as_ref().node, words));
            }
            hosts.push(host);
        }
        for (host, section) in hosts.iter().zip(sections) {
            self.copy(section, host, &hosts, start)?;
        }
        Ok(hosts)
    }

    fn host(
        &self,
        section: &Spanned<file::Host>,
        nodes: u32,
        quiet: Duration,
    ) -> Result<Host, ScenarioError> {
        let host = section.as_ref();
        let node = self.member(&host.node, nodes)?;
        let identity = host.identity.as_ref().map(|name| self.member(name, nodes)).transpose()?;
        let protocol = host
            .protocol
            .as_ref()
            .map(|version| self.within("protocol", version, 0..=u16::MAX))
            .transpose()?;
        let model =
            host.model.as_ref().map(|number| self.within("model", number, 1..=u16::MAX)).transpose()?;
        let hostile: BTreeSet<_> = host.hostile.iter().copied().collect();
        let unlike_others =
            host.start.is_some() || protocol.is_some() || model.is_some() || identity.is_some();
        if !unlike_others && !host.unreachable_address && hostile.is_empty() {
            let words = "this host does not differ from the others; give it `start`, `protocol`, `model`, \
                         `identity`, `unreachable_address` or `hostile`";
            return Err(self.inconsistent(section, words.to_owned()));
        }
        if let (true, Some(at)) = (hostile.is_empty(), &host.hostile_at) {
            let words = "`hostile_at` needs `hostile`, such as [\"flood\"]".to_owned();
            return Err(self.inconsistent(at, words));
        }
        if let (Some(_), false) = (&host.identity, hostile.is_empty() && protocol.is_none()) {
            let words = "a host with the key of another cannot have `hostile` or `protocol`".to_owned();
            return Err(self.inconsistent(section, words));
        }
        let start = host.start.as_ref().map(|start| start.as_ref().0);
        for (place, latest) in [
            (host.start.as_ref().map(Spanned::span), start.map(|start| start.to)),
            (host.hostile_at.as_ref().map(Spanned::span), host.hostile_at.as_ref().map(|at| at.as_ref().0)),
        ] {
            if let (Some(place), Some(latest)) = (place, latest)
                && latest > quiet
            {
                let words = format!("{latest:?} is after {quiet:?}, when all activity must have ended");
                return Err(self.at(place, super::Problem::Inconsistent(words)));
            }
        }
        Ok(Host {
            node,
            start,
            protocol: protocol.filter(|version| *version != PROTOCOL_VERSION),
            model,
            identity,
            unreachable_address: host.unreachable_address,
            hostile: hostile.into_iter().collect(),
            hostile_at: host.hostile_at.as_ref().map_or(HOSTILE_START, |at| at.as_ref().0),
        })
    }

    /// Checks that a copy has an original with its own key and starts after it.
    fn copy(
        &self,
        section: &Spanned<file::Host>,
        host: &Host,
        hosts: &[Host],
        start: Range,
    ) -> Result<(), ScenarioError> {
        let (Some(original), Some(name)) = (host.identity, &section.as_ref().identity) else { return Ok(()) };
        let special = |node| hosts.iter().find(|host| host.node == node);
        let of_original = special(original);
        if original == host.node
            || of_original.is_some_and(|other| other.identity.is_some() || !other.hostile.is_empty())
        {
            let words = format!("n{original} cannot be copied; name a node that has its own key");
            return Err(self.inconsistent(name, words));
        }
        let latest = of_original.and_then(|other| other.start).unwrap_or(start).to;
        if host.start.unwrap_or(start).from <= latest {
            let words = format!(
                "a copy must start after its original, which may start until {latest:?}; give it a later `start`"
            );
            return Err(self.inconsistent(name, words));
        }
        Ok(())
    }
}

/// When a hostile host starts its attack by default: the mesh is whole by then.
const HOSTILE_START: Duration = Duration::from_secs(2);
