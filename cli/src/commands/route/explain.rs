//! `route explain ID`: shows the route to a node, the delay of each hop and alternative routes.

use crate::client::Client;
use crate::commands::node_id;
use crate::commands::node_names::named;
use crate::error::Failure;
use crate::output::{self, Format};
use api::Route;
use runtime::home::Home;

pub(super) async fn run(home: &Home, id: &str, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let (id, names) = node_id::resolve(&client, id).await?;
    let path = format!("/api/v1/routes/{id}");
    if format.json {
        let body = client.get_raw(&path).await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    let route: Route = client.get(&path).await?;
    if route.hops.is_empty() {
        return output::line("The destination is this node");
    }
    let mut before = Some(0);
    let rows: Vec<[String; 4]> = (1..)
        .zip(&route.hops)
        .map(|(number, hop)| {
            let took = hop.round_trip_us.zip(before).map(|(after, before)| after.saturating_sub(before));
            before = hop.round_trip_us;
            let milliseconds =
                |micros: Option<u64>| micros.map_or_else(|| "no answer".to_owned(), output::micros);
            [
                number.to_string(),
                named(&hop.name, hop.id),
                milliseconds(took),
                milliseconds(hop.round_trip_us),
            ]
        })
        .collect();
    output::table(["HOP", "NODE", "THIS HOP", "ROUND TRIP"], &rows)?;
    if route.alternatives.is_empty() {
        return output::line("No alternative route");
    }
    for path in &route.alternatives {
        let nodes: Vec<String> = path.iter().map(|node| names.named(*node)).collect();
        output::line(&format!("Alternative route: {}", nodes.join(" -> ")))?;
    }
    Ok(())
}
