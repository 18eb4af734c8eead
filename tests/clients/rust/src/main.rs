//! Clients in Rust, driven by JSON lines; driver.py says what the lines are.
//!
//! `clients socketio TRANSPORT URL` or `clients websocket URL`.

use std::io::{BufRead, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use base64::{engine::general_purpose::STANDARD, Engine};
use rust_socketio::{ClientBuilder, Event, Payload, RawClient, TransportType};
use serde_json::{json, Value};
use tungstenite::{stream::MaybeTlsStream, Message, WebSocket};

fn say(line: Value) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).expect("standard output is open");
}

/// The lines of standard input.
fn commands() -> impl Iterator<Item = Value> {
    let lines = std::io::stdin().lock().lines().map_while(Result::ok);
    lines.map(|line| serde_json::from_str(&line).expect("a line is JSON"))
}

/// The arguments of an event; binary data becomes `{"base64": …}`.
fn plain(payload: Payload) -> Value {
    match payload {
        Payload::Text(values) => Value::Array(values),
        Payload::Binary(data) => json!([{ "base64": STANDARD.encode(data) }]),
        #[allow(deprecated)]
        Payload::String(text) => json!([text]),
    }
}

/// The payload of an event. This library sends binary data as the only argument.
fn payload(values: &Value) -> Payload {
    match values[0]["base64"].as_str() {
        Some(text) => Payload::from(STANDARD.decode(text).expect("Base64")),
        None => Payload::Text(values.as_array().expect("a list").clone()),
    }
}

fn socket_io(transport: &str, url: &str) {
    let transport = if transport == "websocket" { TransportType::Websocket } else { TransportType::Polling };
    let client = ClientBuilder::new(url)
        .transport_type(transport)
        .reconnect(true)
        .reconnect_delay(100, 1000)
        .on(Event::Connect, |_, _: RawClient| say(json!({ "open": true })))
        .on(Event::Close, |_, _| say(json!({ "closed": true })))
        .on("message", |payload, _| say(json!({ "heard": plain(payload) })))
        .connect()
        .expect("the relay answers");
    for line in commands() {
        let sent = if line.get("emit").is_some() {
            client.emit("message", payload(&line["emit"]))
        } else {
            let acknowledged = |_: Payload, _: RawClient| say(json!({ "acknowledged": true }));
            client.emit_with_ack("message", payload(&line["ask"]), Duration::from_secs(10), acknowledged)
        };
        if let Err(error) = sent {
            say(json!({ "error": error.to_string() }));
        }
    }
    let _ = client.disconnect();
}

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

/// Read what is there, for as long as the read timeout of the socket; false at the end of the connection.
fn read(socket: &mut Socket) -> bool {
    match socket.read() {
        Ok(Message::Text(text)) => say(json!({ "heard": serde_json::from_str::<Value>(&text).expect("JSON") })),
        Ok(Message::Close(frame)) => {
            say(json!({ "closed": frame.map_or(1005, |frame| u16::from(frame.code)) }));
            let _ = socket.flush();
            return false;
        }
        Ok(_) => {}
        Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        Err(_) => {
            say(json!({ "closed": 1006 }));
            return false;
        }
    }
    true
}

fn web_socket(url: &str) {
    let (mut socket, _) = tungstenite::connect(url).expect("the relay answers");
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout can be set");
    }
    say(json!({ "open": true }));
    let waiting = std::sync::Arc::new(Mutex::new(Some(Vec::new())));
    let queue = waiting.clone();
    std::thread::spawn(move || {
        for line in commands() {
            let text = line["send"].as_str().expect("a text").to_owned();
            queue.lock().expect("no panic").as_mut().expect("not ended").push(text);
        }
        *queue.lock().expect("no panic") = None;
    });
    while read(&mut socket) {
        let Some(texts) = waiting.lock().expect("no panic").as_mut().map(std::mem::take) else { break };
        for text in texts {
            socket.send(Message::Text(text)).expect("the relay reads");
        }
    }
    let _ = socket.close(None);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments[1].as_str() {
        "socketio" => socket_io(&arguments[2], &arguments[3]),
        _ => web_socket(&arguments[2]),
    }
}
