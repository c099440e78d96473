//! The answer to every connection while the wall clock shows no date. The library that serves HTTP writes the date into
//! its answers, and panics where there is none.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Says that the clock is to be set, and closes the connection.
pub(super) async fn refuse(mut stream: TcpStream) {
    let mut some = [0; READ_BYTES];
    // What is left unread would reset the connection, and the answer with it.
    let _ = timeout(TIMEOUT, stream.read(&mut some)).await;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    let _ = timeout(TIMEOUT, stream.write_all(answer.as_bytes())).await;
    let _ = timeout(TIMEOUT, stream.shutdown()).await;
}

const BODY: &str = r#"{"error":{"code":"clock_unset","message":"this machine's clock stands before 1970 or after 9999","hint":"set the clock; a running node then continues by itself"}}"#;
const TIMEOUT: Duration = Duration::from_secs(2);
/// More than a head without a body.
const READ_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_answer_is_one_of_http() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"GET /readyz HTTP/1.1\r\n\r\n").await.unwrap();
        refuse(listener.accept().await.unwrap().0).await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert_eq!(serde_json::from_str::<Value>(body).unwrap()["error"]["code"], "clock_unset");
    }
}
