//! Clients in Rust, which tests control by lines of JSON: see tests/conformance/programs.py. The first argument is
//! `socketio` or `websocket`.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::net::TcpStream;
use std::sync::mpsc::{channel, Receiver, Sender, TryRecvError};
use std::time::Duration;

use base64::{engine::general_purpose::STANDARD, Engine};
use rust_socketio::client::Client;
use rust_socketio::{ClientBuilder, Event, Payload, RawClient, TransportType};
use serde_json::{json, Value};
use tungstenite::{stream::MaybeTlsStream, Message, WebSocket};

fn say(client: &str, what: &str, mut more: Value) {
    more["client"] = json!(client);
    more["what"] = json!(what);
    let mut output = std::io::stdout().lock();
    writeln!(output, "{more}").and_then(|()| output.flush()).expect("standard output is open");
}

fn text<'a>(command: &'a Value, name: &str) -> &'a str {
    command[name].as_str().unwrap_or_default()
}

/// The lines of standard input.
fn commands() -> impl Iterator<Item = Value> {
    let lines = std::io::stdin().lock().lines().map_while(Result::ok);
    lines.map(|line| serde_json::from_str(&line).expect("a line is JSON"))
}

/// The arguments of an event; binary data becomes `{"bytes": …}`.
fn packed(payload: Payload) -> Value {
    match payload {
        Payload::Text(values) => Value::Array(values),
        Payload::Binary(data) => json!([{ "bytes": STANDARD.encode(data) }]),
        #[allow(deprecated)]
        Payload::String(text) => json!([text]),
    }
}

/// The payload of an event. This library sends binary data as the only argument.
fn unpacked(values: &Value) -> Result<Payload, String> {
    let values = values.as_array().expect("a list");
    match values.first().and_then(|value| value["bytes"].as_str()) {
        Some(text) if values.len() == 1 => Ok(Payload::from(STANDARD.decode(text).expect("Base64"))),
        _ if json!(values).to_string().contains("\"bytes\":") => Err("binary data is not the only argument".into()),
        _ => Ok(Payload::Text(values.clone())),
    }
}

fn open(command: &Value) -> Result<Client, rust_socketio::Error> {
    let client = text(command, "client").to_owned();
    let kind = match command["transports"][0].as_str() {
        Some("polling") => TransportType::Polling,
        _ => TransportType::Websocket,
    };
    let namespace = text(command, "namespace");
    let mut builder = ClientBuilder::new(text(command, "url"))
        .namespace(namespace)
        .transport_type(kind)
        .reconnect(true)
        .reconnect_delay(100, 300);
    for name in ["message", "none", "one", "two"] {
        let client = client.clone();
        builder = builder.on(name, move |payload, _| {
            say(&client, "event", json!({ "name": name, "args": packed(payload) }));
        });
    }
    let (connected, closed) = (client.clone(), client);
    builder
        .on(Event::Connect, move |_, _| say(&connected, "connect", json!({})))
        .on(Event::Close, move |_, _| say(&closed, "disconnect", json!({})))
        .connect()
}

fn emit(socket: &Client, command: &Value) -> Result<(), String> {
    let payload = unpacked(&command["args"])?;
    let (client, name, mark) = (text(command, "client").to_owned(), text(command, "name"), command["ack"].clone());
    let sent = if mark.is_null() {
        socket.emit(name, payload)
    } else {
        let acknowledged = move |payload: Payload, _: RawClient| {
            // The library passes the list of arguments as one value.
            let answer = packed(payload)[0].clone();
            say(&client, "ack", json!({ "mark": mark, "answer": answer }));
        };
        socket.emit_with_ack(name, payload, Duration::from_secs(10), acknowledged)
    };
    sent.map_err(|error| error.to_string())
}

fn socket_io() {
    let mut clients: HashMap<String, Client> = HashMap::new();
    for command in commands() {
        let client = text(&command, "client");
        let done = match text(&command, "do") {
            "open" => open(&command).map_err(|error| error.to_string()).map(|socket| {
                clients.insert(client.to_owned(), socket);
            }),
            "emit" => emit(&clients[client], &command),
            _ => clients[client].disconnect().map_err(|error| error.to_string()),
        };
        if let Err(error) = done {
            say(client, "failed", json!({ "error": error }));
        }
    }
}

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

/// Read the frames that are there, for as long as the read timeout of the socket; return the close code at the end.
fn read(client: &str, socket: &mut Socket) -> Option<u16> {
    match socket.read() {
        Ok(Message::Text(text)) => say(client, "text", json!({ "text": text })),
        Ok(Message::Close(frame)) => {
            let _ = socket.flush();
            return Some(frame.map_or(1005, |frame| u16::from(frame.code)));
        }
        Ok(_) => {}
        Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        Err(_) => return Some(1006),
    }
    None
}

/// Serve one connection until it ends. It is closed when the sender of texts is dropped.
fn serve(client: &str, url: &str, texts: &Receiver<String>) -> Result<(), tungstenite::Error> {
    let (mut socket, _) = tungstenite::connect(url)?;
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    }
    say(client, "connect", json!({}));
    let mut closing = false;
    loop {
        if let Some(code) = read(client, &mut socket) {
            say(client, "disconnect", json!({ "code": code }));
            return Ok(());
        }
        match texts.try_recv() {
            Ok(text) => socket.send(Message::Text(text))?,
            Err(TryRecvError::Disconnected) if !closing => {
                closing = true;
                socket.close(None)?;
            }
            Err(_) => {}
        }
    }
}

fn web_socket() {
    let mut clients: HashMap<String, Sender<String>> = HashMap::new();
    for command in commands() {
        let client = text(&command, "client").to_owned();
        match text(&command, "do") {
            "open" => {
                let (sender, texts) = channel();
                clients.insert(client.clone(), sender);
                let url = text(&command, "url").to_owned();
                std::thread::spawn(move || {
                    if let Err(error) = serve(&client, &url, &texts) {
                        say(&client, "failed", json!({ "error": error.to_string() }));
                    }
                });
            }
            "send" => {
                // After the end of the connection, a text goes nowhere.
                let _ = clients[&client].send(text(&command, "text").to_owned());
            }
            _ => drop(clients.remove(&client)),
        }
    }
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("socketio") => socket_io(),
        _ => web_socket(),
    }
}
