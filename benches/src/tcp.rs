//! Frames over plain tokio TCP between two processes: the minimum cost of any link.
//!
//! The frames are those of a link, a length and a payload, with many frames in a write and a read. The receiver copies
//! each frame into memory of its own, as a node does. There is no encryption and no acknowledgement.

use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

pub(crate) const PART: &str = "--tcp";

/// A process at the other end of plain TCP.
#[derive(Debug)]
pub struct Server {
    _child: Child,
    address: String,
}

impl Server {
    /// Starts the process.
    pub async fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(PART)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.next_line().await.unwrap().unwrap();
        Self { _child: child, address }
    }

    /// Sends frames one at a time, each when the previous one has come back, and returns the median round trip.
    pub async fn round_trip(&self, count: u32, bytes: usize) -> Duration {
        let address = self.address.clone();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            stream.write_all(b"e").await.unwrap();
            let frame = frames(1, bytes);
            let mut back = vec![0; frame.len()];
            let mut took = Vec::new();
            for _ in 0..count {
                let begun = Instant::now();
                stream.write_all(&frame).await.unwrap();
                stream.read_exact(&mut back).await.unwrap();
                took.push(begun.elapsed());
            }
            took.sort();
            took[took.len() / 2]
        })
        .await
        .unwrap()
    }

    /// Sends frames as fast as they are accepted, and returns the frames a second that arrive.
    pub async fn frames_per_second(&self, count: u32, bytes: usize) -> f64 {
        let address = self.address.clone();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            stream.write_all(b"s").await.unwrap();
            let one = frames(1, bytes);
            let mut buffer = Vec::new();
            let begun = Instant::now();
            for sent in 1..=count {
                buffer.extend_from_slice(&one);
                if buffer.len() >= BATCH_BYTES || sent == count {
                    stream.write_all(&buffer).await.unwrap();
                    buffer.clear();
                }
            }
            stream.shutdown().await.unwrap();
            let taken = stream.read_u32().await.unwrap();
            assert_eq!(taken, count);
            f64::from(count) / begun.elapsed().as_secs_f64()
        })
        .await
        .unwrap()
    }
}

pub(crate) async fn be_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            match stream.read_u8().await.unwrap() {
                b'e' => echo(stream).await,
                _ => sink(stream).await,
            }
        });
    }
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; BATCH_BYTES];
    loop {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => stream.write_all(&buffer[..read]).await.unwrap(),
            _ => return,
        }
    }
}

async fn sink(mut stream: TcpStream) {
    let mut buffer = vec![0; BATCH_BYTES];
    let (mut end, mut taken) = (0, 0_u32);
    loop {
        let read = stream.read(&mut buffer[end..]).await.unwrap();
        if read == 0 {
            return stream.write_u32(taken).await.unwrap();
        }
        end += read;
        let mut start = 0;
        while let Some((header, rest)) = buffer[start..end].split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*header) as usize;
            let Some(frame) = rest.get(..len) else { break };
            std::hint::black_box(frame.to_vec());
            start += 4 + len;
            taken += 1;
        }
        buffer.copy_within(start..end, 0);
        end -= start;
    }
}

/// Encodes frames as a link does.
pub fn frames(count: usize, bytes: usize) -> Vec<u8> {
    let mut frame = u32::try_from(bytes).unwrap().to_be_bytes().to_vec();
    frame.resize(4 + bytes, 7);
    frame.repeat(count)
}

/// Bytes of one write, as on a link.
pub const BATCH_BYTES: usize = 64 << 10;
