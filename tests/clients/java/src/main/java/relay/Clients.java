package relay;

import io.socket.client.Ack;
import io.socket.client.IO;
import io.socket.client.Socket;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
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
 * Clients in Java, which tests control by lines of JSON: see tests/conformance/programs.py. The first argument is
 * {@code socketio}, {@code java-websocket} or {@code okhttp}.
 */
public final class Clients {
  private static final String[] EVENTS = {"message", "none", "one", "two"};

  private Clients() {}

  /** One client: it executes its commands. */
  private interface Client {
    void run(JSONObject command) throws Exception;
  }

  /** Makes the client of an {@code open} command. */
  private interface Opener {
    Client open(JSONObject command) throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    switch (arguments[0]) {
      case "socketio":
        serve(Clients::socketIO);
        break;
      case "okhttp":
        serve(Clients::okHttp);
        break;
      default:
        serve(Clients::javaWebSocket);
    }
    System.exit(0);
  }

  private static Client socketIO(JSONObject open) throws Exception {
    String name = open.getString("client");
    String namespace = open.getString("namespace");
    IO.Options options = new IO.Options();
    options.transports = new String[] {open.getJSONArray("transports").getString(0)};
    options.forceNew = true;
    options.reconnectionDelay = 100;
    options.reconnectionDelayMax = 300;
    Socket socket = IO.socket(open.getString("url") + (namespace.equals("/") ? "" : namespace), options);
    socket.on(Socket.EVENT_CONNECT, values -> say(name, "connect"));
    socket.on(Socket.EVENT_DISCONNECT, values -> say(name, "disconnect"));
    for (String event : EVENTS) {
      socket.on(event, values -> say(name, "event", "name", event, "args", packedList(values)));
    }
    socket.connect();
    return command -> {
      if (command.getString("do").equals("emit")) {
        Object mark = command.opt("ack");
        Ack ack = answer -> say(name, "ack", "mark", mark, "answer", packedList(answer));
        Object[] values = values(command.getJSONArray("args"));
        if (mark == null) {
          socket.emit(command.getString("name"), values);
        } else {
          socket.emit(command.getString("name"), values, ack);
        }
      } else {
        socket.disconnect();
      }
    };
  }

  private static Client okHttp(JSONObject open) throws Exception {
    String name = open.getString("client");
    WebSocketListener listener =
        new WebSocketListener() {
          @Override
          public void onOpen(WebSocket socket, Response response) {
            say(name, "connect");
          }

          @Override
          public void onMessage(WebSocket socket, String text) {
            say(name, "text", "text", text);
          }

          @Override
          public void onClosing(WebSocket socket, int code, String reason) {
            socket.close(code, null);
            say(name, "disconnect", "code", code);
          }

          @Override
          public void onFailure(WebSocket socket, Throwable error, Response response) {
            say(name, "disconnect", "code", 1006);
          }
        };
    Request request = new Request.Builder().url(open.getString("url")).build();
    WebSocket socket = new OkHttpClient().newWebSocket(request, listener);
    return command -> {
      if (command.getString("do").equals("send")) {
        socket.send(command.getString("text"));
      } else {
        socket.close(1000, null);
      }
    };
  }

  private static Client javaWebSocket(JSONObject open) throws Exception {
    String name = open.getString("client");
    WebSocketClient client =
        new WebSocketClient(new URI(open.getString("url"))) {
          @Override
          public void onOpen(ServerHandshake handshake) {
            say(name, "connect");
          }

          @Override
          public void onMessage(String text) {
            say(name, "text", "text", text);
          }

          @Override
          public void onClose(int code, String reason, boolean remote) {
            say(name, "disconnect", "code", code);
          }

          @Override
          public void onError(Exception error) {
            say(name, "failed", "error", String.valueOf(error));
          }
        };
    client.connect();
    return command -> {
      if (command.getString("do").equals("send")) {
        client.send(command.getString("text"));
      } else {
        client.close();
      }
    };
  }

  /** Runs the commands of standard input, until it ends. */
  private static void serve(Opener opener) throws Exception {
    Map<String, Client> clients = new HashMap<>();
    BufferedReader reader = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = reader.readLine(); line != null; line = reader.readLine()) {
      JSONObject command = new JSONObject(line);
      String name = command.getString("client");
      try {
        if (command.getString("do").equals("open")) {
          clients.put(name, opener.open(command));
        } else {
          clients.get(name).run(command);
        }
      } catch (Exception error) {
        say(name, "failed", "error", String.valueOf(error));
      }
    }
  }

  /** Writes one line; {@code more} are names and values in turn. */
  private static synchronized void say(String client, String what, Object... more) {
    try {
      JSONObject line = new JSONObject().put("client", client).put("what", what);
      for (int at = 0; at < more.length; at += 2) {
        line.put((String) more[at], more[at + 1]);
      }
      byte[] bytes = (line + "\n").getBytes(StandardCharsets.UTF_8);
      System.out.write(bytes, 0, bytes.length);
      System.out.flush();
    } catch (JSONException error) {
      throw new IllegalArgumentException(error);
    }
  }

  private static JSONArray packedList(Object[] values) {
    JSONArray changed = new JSONArray();
    for (Object value : values) {
      changed.put(packed(value));
    }
    return changed;
  }

  /** Replaces binary data, which JSON cannot carry, by {@code {"bytes": …}}. */
  private static Object packed(Object value) {
    try {
      if (value == null) {
        return JSONObject.NULL;
      }
      if (value instanceof byte[]) {
        return new JSONObject().put("bytes", Base64.getEncoder().encodeToString((byte[]) value));
      }
      return changed(value, Clients::packed);
    } catch (JSONException error) {
      throw new IllegalArgumentException(error);
    }
  }

  /** The opposite of {@link #packed}. */
  private static Object unpacked(Object value) {
    try {
      if (value instanceof JSONObject && ((JSONObject) value).has("bytes")) {
        return Base64.getDecoder().decode(((JSONObject) value).getString("bytes"));
      }
      return changed(value, Clients::unpacked);
    } catch (JSONException error) {
      throw new IllegalArgumentException(error);
    }
  }

  /** Changes the values of a list or an object. */
  private static Object changed(Object value, java.util.function.UnaryOperator<Object> change) throws JSONException {
    if (value instanceof JSONArray) {
      JSONArray list = new JSONArray();
      for (int at = 0; at < ((JSONArray) value).length(); at++) {
        list.put(change.apply(((JSONArray) value).get(at)));
      }
      return list;
    }
    if (value instanceof JSONObject) {
      JSONObject object = new JSONObject();
      for (Iterator<?> names = ((JSONObject) value).keys(); names.hasNext(); ) {
        String name = (String) names.next();
        object.put(name, change.apply(((JSONObject) value).get(name)));
      }
      return object;
    }
    return value;
  }

  private static Object[] values(JSONArray items) throws JSONException {
    Object[] changed = new Object[items.length()];
    for (int at = 0; at < changed.length; at++) {
      changed[at] = unpacked(items.get(at));
    }
    return changed;
  }
}
