//! `GET /api/v1/dashboard/invite`: the command that makes another machine join, as text and as a QR code.

use crate::http::control::answer::JsonResult;
use crate::http::error::ApiError;
use crate::http::node_client::{ask, internal, unexpected};
use crate::http::state::Api;
use crate::text::shell_quoted;
use api::dashboard::{FeedKind, Invite};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::request::{Request as NodeRequest, Response as NodeResponse, StatusView};
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

pub(super) async fn invite(State(api): State<Api>) -> JsonResult<Invite> {
    Ok(Json(of_node(&api).await?))
}

pub(super) async fn qr(State(api): State<Api>) -> Result<Response, ApiError> {
    let Invite { command, .. } = of_node(&api).await?;
    let code = QrCode::with_error_correction_level(&command, EcLevel::M)
        .map_err(|error| internal("internal_error", format!("the command is no QR code: {error}")))?;
    let picture = code.render::<svg::Color<'_>>().min_dimensions(PIXELS, PIXELS).build();
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], picture).into_response())
}

async fn of_node(api: &Api) -> Result<Invite, ApiError> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "every other kind of response is the same bug")]
    match ask(api, NodeRequest::Status).await? {
        NodeResponse::Status(view) => Ok(new(&view, api.dashboard.hub.kind())),
        other => Err(unexpected(&other)),
    }
}

fn new(status: &StatusView, kind: FeedKind) -> Invite {
    // The best address that another machine reaches.
    let address = status.addresses.iter().find(|address| !address.ip().is_loopback()).copied();
    let mut command = format!("p2p-ai-agents node start --network {}", shell_quoted(&status.network));
    if let Some(address) = address {
        command.push_str(&format!(" --bootstrap-peer {address}"));
    }
    let note = match (kind, address) {
        (FeedKind::Node, Some(_)) => "The other machine must be on a local network of this one.",
        (FeedKind::Node, None) => {
            "This node listens on loopback only, so no other machine reaches it. Connect it to a network first."
        }
        (FeedKind::Demo | FeedKind::Recording, _) => {
            "These nodes are not real. Start a real one with p2p-ai-agents node start first."
        }
    };
    let (network, qr) = (status.network.clone(), QR_PATH.to_owned());
    Invite { network, address, command, qr, note: Some(note.to_owned()) }
}

const QR_PATH: &str = "/api/v1/dashboard/invite/qr.svg";
/// Size of the picture, which scales.
const PIXELS: u32 = 240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_joins_this_network_at_an_address_that_others_reach() {
        let mut status = engine::testing::status();
        status.addresses = ["127.0.0.1:9000", "192.168.1.10:9000"].map(|text| text.parse().unwrap()).into();
        let invite = new(&status, FeedKind::Node);
        let expected = "p2p-ai-agents node start --network local --bootstrap-peer 192.168.1.10:9000";
        assert_eq!((invite.command.as_str(), invite.address), (expected, Some(status.addresses[1])));
        status.addresses.pop();
        let alone = new(&status, FeedKind::Node);
        assert_eq!(alone.command, "p2p-ai-agents node start --network local");
        assert!(alone.note.unwrap().contains("loopback"));
    }

    #[test]
    fn a_hostile_name_of_a_network_is_quoted() {
        let mut status = engine::testing::status();
        status.network = "a'; rm -rf ~ #".to_owned();
        let command = new(&status, FeedKind::Node).command;
        assert_eq!(command, r"p2p-ai-agents node start --network 'a'\''; rm -rf ~ #'");
    }
}
