package relay;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.signalr.HttpHubConnectionBuilder;
import com.microsoft.signalr.HubConnection;
import com.microsoft.signalr.HubConnectionBuilder;
import com.microsoft.signalr.TransportEnum;
import io.reactivex.rxjava3.core.Completable;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

/** SignalR clients in Java, which tests control by lines of JSON, as signalr_clients.mjs. */
public final class SignalR {
  private static final Gson GSON = new GsonBuilder().serializeNulls().create();
  private static final long PAUSE = 200;
  private static final Set<String> stopped = ConcurrentHashMap.newKeySet();

  private SignalR() {}

  public static void main(String[] arguments) throws Exception {
    Map<String, HubConnection> hubs = new HashMap<>();
    BufferedReader reader = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = reader.readLine(); line != null; line = reader.readLine()) {
      JsonObject command = JsonParser.parseString(line).getAsJsonObject();
      String client = command.get("client").getAsString();
      switch (command.get("do").getAsString()) {
        case "open":
          hubs.put(client, open(client, command));
          break;
        case "invoke":
          invoke(hubs.get(client), client, command);
          break;
        case "send":
          hubs.get(client).send(command.get("name").getAsString(), arguments(command));
          break;
        default:
          stopped.add(client);
          hubs.get(client).stop().subscribe(() -> {}, error -> say(client, "failed", "error", error.toString()));
      }
    }
    System.exit(0);
  }

  private static HubConnection open(String client, JsonObject command) {
    HttpHubConnectionBuilder builder = HubConnectionBuilder.create(command.get("url").getAsString());
    if (command.get("transport").getAsString().equals("polling")) {
      builder.withTransport(TransportEnum.LONG_POLLING);
    } else {
      builder.withTransport(TransportEnum.WEBSOCKETS);
    }
    HubConnection hub = builder.build();
    hub.on("onMessageReceived", value -> heard(client, "onMessageReceived", value), Object.class);
    hub.on("joined", (peer, room) -> heard(client, "joined", peer, room), String.class, String.class);
    hub.on("left", (peer, room) -> heard(client, "left", peer, room), String.class, String.class);
    hub.onClosed(
        error -> {
          // There is no error where the connection has ended without a reason.
          if (stopped.contains(client)) {
            say(client, "close");
          } else {
            // The library does not reconnect by itself: its documentation has applications start anew.
            say(client, "disconnect");
            start(hub, client);
          }
        });
    start(hub, client);
    return hub;
  }

  /** Starts a connection, again until that succeeds. */
  private static void start(HubConnection hub, String client) {
    Completable.defer(hub::start)
        .retryWhen(errors -> errors.delay(PAUSE, TimeUnit.MILLISECONDS))
        .subscribe(() -> say(client, "connect", "id", hub.getConnectionId()));
  }

  private static void invoke(HubConnection hub, String client, JsonObject command) {
    String name = command.get("name").getAsString();
    int mark = command.get("mark").getAsInt();
    // A call without a result has a method of its own.
    if (command.has("void")) {
      hub.invoke(name, arguments(command))
          .subscribe(
              () -> say(client, "ack", "mark", mark, "answer", null),
              error -> say(client, "ack", "mark", mark, "error", error.getMessage()));
      return;
    }
    hub.invoke(Object.class, name, arguments(command))
        .subscribe(
            result -> say(client, "ack", "mark", mark, "answer", result),
            error -> say(client, "ack", "mark", mark, "error", error.getMessage()));
  }

  private static Object[] arguments(JsonObject command) {
    return GSON.fromJson(command.get("args"), Object[].class);
  }

  private static void heard(String client, String name, Object... values) {
    say(client, "event", "name", name, "args", values);
  }

  /** Writes one line; {@code more} are names and values in turn. */
  private static synchronized void say(String client, String what, Object... more) {
    JsonObject line = new JsonObject();
    line.addProperty("client", client);
    line.addProperty("what", what);
    for (int at = 0; at < more.length; at += 2) {
      JsonElement value = GSON.toJsonTree(more[at + 1]);
      line.add((String) more[at], value);
    }
    byte[] bytes = (GSON.toJson(line) + "\n").getBytes(StandardCharsets.UTF_8);
    System.out.write(bytes, 0, bytes.length);
    System.out.flush();
  }
}
