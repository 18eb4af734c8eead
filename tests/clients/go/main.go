// Clients in Go, which tests control by lines of JSON: see tests/conformance/programs.py. The first argument is
// socketio or websocket.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/zishang520/socket.io/clients/engine/v3/transports"
	"github.com/zishang520/socket.io/clients/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

type command struct {
	Do         string
	Client     string
	URL        string
	Transports []string
	Namespace  string
	Name       string
	Args       []any
	Ack        any
	Text       string
}

type fields map[string]any

var output sync.Mutex

func say(client string, what string, more fields) {
	line := fields{"client": client, "what": what}
	for name, value := range more {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		text, _ = json.Marshal(fields{"client": client, "what": "failed", "error": err.Error()})
	}
	output.Lock()
	defer output.Unlock()
	fmt.Println(string(text))
}

// commands calls a function for each line of standard input, until it ends.
func commands(run func(command) error) {
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		var one command
		err := json.Unmarshal(scanner.Bytes(), &one)
		if err == nil {
			err = run(one)
		}
		if err != nil {
			say(one.Client, "failed", fields{"error": err.Error()})
		}
	}
}

// packed replaces binary data, which JSON cannot carry, by {"bytes": …}.
func packed(value any) any {
	switch data := value.(type) {
	case []byte:
		return fields{"bytes": base64.StdEncoding.EncodeToString(data)}
	case types.BufferInterface:
		return fields{"bytes": base64.StdEncoding.EncodeToString(data.Bytes())}
	case []any:
		return each(data, packed)
	case map[string]any:
		changed := map[string]any{}
		for name, value := range data {
			changed[name] = packed(value)
		}
		return changed
	}
	return value
}

// unpacked is the opposite of packed.
func unpacked(value any) any {
	switch data := value.(type) {
	case []any:
		return each(data, unpacked)
	case map[string]any:
		if text, ok := data["bytes"].(string); ok {
			decoded, _ := base64.StdEncoding.DecodeString(text)
			return types.NewBytesBuffer(decoded)
		}
		changed := map[string]any{}
		for name, value := range data {
			changed[name] = unpacked(value)
		}
		return changed
	}
	return value
}

func each(values []any, change func(any) any) []any {
	changed := make([]any, len(values))
	for i, value := range values {
		changed[i] = change(value)
	}
	return changed
}

func open(one command) (*socket.Socket, error) {
	options := socket.DefaultOptions()
	kinds := types.NewSet[transports.TransportCtor](transports.Polling)
	if one.Transports[0] == "websocket" {
		kinds = types.NewSet[transports.TransportCtor](transports.WebSocket)
	}
	options.SetTransports(kinds)
	options.SetForceNew(true)
	options.SetReconnectionDelay(100)
	options.SetReconnectionDelayMax(300)
	url := one.URL
	if one.Namespace != "/" {
		url += one.Namespace
	}
	client, err := socket.Connect(url, options)
	if err != nil {
		return nil, err
	}
	client.On("connect", func(...any) { say(one.Client, "connect", nil) })
	client.On("disconnect", func(...any) { say(one.Client, "disconnect", nil) })
	for _, name := range []string{"message", "none", "one", "two"} {
		client.On(types.EventName(name), func(values ...any) {
			say(one.Client, "event", fields{"name": name, "args": each(values, packed)})
		})
	}
	return client, nil
}

func socketIO() {
	clients := map[string]*socket.Socket{}
	commands(func(one command) (err error) {
		switch one.Do {
		case "open":
			clients[one.Client], err = open(one)
		case "emit":
			values := each(one.Args, unpacked)
			if one.Ack == nil {
				return clients[one.Client].Emit(one.Name, values...)
			}
			clients[one.Client].EmitWithAck(one.Name, values...)(func(answer []any, err error) {
				if err != nil {
					say(one.Client, "failed", fields{"error": err.Error()})
				} else {
					say(one.Client, "ack", fields{"mark": one.Ack, "answer": each(answer, packed)})
				}
			})
		default:
			clients[one.Client].Disconnect()
		}
		return err
	})
}

func read(name string, client *websocket.Conn) {
	for {
		_, data, err := client.ReadMessage()
		if err != nil {
			code := 1006
			if end, ok := err.(*websocket.CloseError); ok {
				code = end.Code
			}
			say(name, "disconnect", fields{"code": code})
			return
		}
		say(name, "text", fields{"text": string(data)})
	}
}

func webSocket() {
	clients := map[string]*websocket.Conn{}
	commands(func(one command) error {
		switch one.Do {
		case "open":
			client, _, err := websocket.DefaultDialer.Dial(one.URL, nil)
			if err != nil {
				return err
			}
			clients[one.Client] = client
			say(one.Client, "connect", nil)
			go read(one.Client, client)
			return nil
		case "send":
			return clients[one.Client].WriteMessage(websocket.TextMessage, []byte(one.Text))
		}
		end := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		return clients[one.Client].WriteMessage(websocket.CloseMessage, end)
	})
}

func main() {
	if os.Args[1] == "socketio" {
		socketIO()
	} else {
		webSocket()
	}
}
