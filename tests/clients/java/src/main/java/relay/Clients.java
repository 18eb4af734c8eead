package relay;

import io.socket.client.Ack;
import io.socket.client.IO;
import io.socket.client.Socket;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.WebSocket;
import okhttp3.WebSocketListener;
import org.java_websocket.client.WebSocketClient;
import org.java_websocket.handshake.ServerHandshake;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/**
 * Clients in Java, driven by JSON lines; driver.py says what the lines are. Arguments: {@code socketio TRANSPORT URL},
 * {@code java-websocket URL} or {@code okhttp URL}.
 */
public final class Clients {
  private Clients() {}

  /** What to do with one line of standard input. */
  private interface Command {
    void run(JSONObject line) throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    switch (arguments[0]) {
      case "socketio":
        socketIO(arguments[1], arguments[2]);
        break;
      case "okhttp":
        okHttp(arguments[1]);
        break;
      default:
        javaWebSocket(arguments[1]);
    }
    System.exit(0);
  }

  private static void socketIO(String transport, String url) throws Exception {
    IO.Options options = new IO.Options();
    options.transports = new String[] {transport};
    Socket socket = IO.socket(url, options);
    socket.on(Socket.EVENT_CONNECT, values -> say("open", true));
    socket.on(Socket.EVENT_DISCONNECT, values -> say("closed", true));
    socket.on("message", values -> say("heard", plain(values)));
    socket.connect();
    commands(
        line -> {
          if (line.has("emit")) {
            socket.emit("message", values(line.getJSONArray("emit")));
          } else if (line.has("ask")) {
            socket.emit("message", values(line.getJSONArray("ask")), (Ack) answer -> say("acknowledged", true));
          }
        });
    socket.disconnect();
  }

  private static void okHttp(String url) throws Exception {
    WebSocketListener listener =
        new WebSocketListener() {
          @Override
          public void onOpen(WebSocket socket, Response response) {
            say("open", true);
          }

          @Override
          public void onMessage(WebSocket socket, String text) {
            say("heard", parsed(text));
          }

          @Override
          public void onClosing(WebSocket socket, int code, String reason) {
            socket.close(code, null);
            say("closed", code);
          }

          @Override
          public void onFailure(WebSocket socket, Throwable error, Response response) {
            say("closed", 1006);
          }
        };
    Request request = new Request.Builder().url(url).build();
    WebSocket socket = new OkHttpClient().newWebSocket(request, listener);
    commands(line -> socket.send(line.getString("send")));
    socket.close(1000, null);
  }

  private static void javaWebSocket(String url) throws Exception {
    WebSocketClient client =
        new WebSocketClient(new URI(url)) {
          @Override
          public void onOpen(ServerHandshake handshake) {
            say("open", true);
          }

          @Override
          public void onMessage(String text) {
            say("heard", parsed(text));
          }

          @Override
          public void onClose(int code, String reason, boolean remote) {
            say("closed", code);
          }

          @Override
          public void onError(Exception error) {
            say("error", String.valueOf(error));
          }
        };
    client.connectBlocking();
    commands(line -> client.send(line.getString("send")));
    client.closeBlocking();
  }

  /** Calls a function for each line of standard input, until it ends. */
  private static void commands(Command command) throws Exception {
    BufferedReader reader = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = reader.readLine(); line != null; line = reader.readLine()) {
      command.run(new JSONObject(line));
    }
  }

  private static synchronized void say(String name, Object value) {
    byte[] bytes = (object(name, value) + "\n").getBytes(StandardCharsets.UTF_8);
    System.out.write(bytes, 0, bytes.length);
    System.out.flush();
  }

  private static JSONObject object(String name, Object value) {
    try {
      return new JSONObject().put(name, value);
    } catch (JSONException error) {
      throw new IllegalArgumentException(error);
    }
  }

  private static JSONObject parsed(String text) {
    try {
      return new JSONObject(text);
    } catch (JSONException error) {
      return object("unreadable", text);
    }
  }

  /** Replaces binary data, which JSON cannot carry, by {@code {"base64": …}}. */
  private static JSONArray plain(Object[] values) {
    JSONArray changed = new JSONArray();
    for (Object value : values) {
      boolean binary = value instanceof byte[];
      changed.put(binary ? object("base64", Base64.getEncoder().encodeToString((byte[]) value)) : value);
    }
    return changed;
  }

  private static Object[] values(JSONArray items) throws JSONException {
    Object[] changed = new Object[items.length()];
    for (int at = 0; at < changed.length; at++) {
      Object value = items.get(at);
      String text = value instanceof JSONObject ? ((JSONObject) value).optString("base64", null) : null;
      changed[at] = text == null ? value : Base64.getDecoder().decode(text);
    }
    return changed;
  }
}
