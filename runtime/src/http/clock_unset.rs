//! Response to every connection while the wall clock has no valid date. hyper writes the date into its responses and
//! panics without one.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Responds with status 503 and `clock_unset`, and closes the connection.
pub(super) async fn refuse(mut stream: TcpStream) {
    let mut some = [0; READ_BYTES];
    // Unread bytes would make the kernel reset the connection and drop the response.
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
/// More than the head of a request.
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
