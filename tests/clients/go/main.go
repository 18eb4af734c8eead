// Clients in Go, driven by JSON lines; driver.py says what the lines are.
//
//	clients socketio TRANSPORT URL
//	clients websocket URL
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

type line map[string]any

var output sync.Mutex

func say(one line) {
	text, err := json.Marshal(one)
	if err != nil {
		text, _ = json.Marshal(line{"error": err.Error()})
	}
	output.Lock()
	defer output.Unlock()
	fmt.Println(string(text))
}

// commands calls a function for each line of standard input, until it ends.
func commands(run func(line)) {
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		var one line
		if err := json.Unmarshal(scanner.Bytes(), &one); err != nil {
			say(line{"error": err.Error()})
			continue
		}
		run(one)
	}
}

// plain replaces binary data, which JSON cannot carry, by {"base64": …}.
func plain(value any) any {
	switch data := value.(type) {
	case []byte:
		return line{"base64": base64.StdEncoding.EncodeToString(data)}
	case types.BufferInterface:
		return line{"base64": base64.StdEncoding.EncodeToString(data.Bytes())}
	}
	return value
}

// binary is the opposite of plain.
func binary(value any) any {
	if fields, ok := value.(map[string]any); ok {
		if text, ok := fields["base64"].(string); ok {
			data, _ := base64.StdEncoding.DecodeString(text)
			return types.NewBytesBuffer(data)
		}
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

func socketIO(transport string, url string) error {
	options := socket.DefaultOptions()
	kinds := types.NewSet[transports.TransportCtor](transports.Polling)
	if transport == "websocket" {
		kinds = types.NewSet[transports.TransportCtor](transports.WebSocket)
	}
	options.SetTransports(kinds)
	client, err := socket.Connect(url, options)
	if err != nil {
		return err
	}
	client.On("connect", func(...any) { say(line{"open": true}) })
	client.On("disconnect", func(...any) { say(line{"closed": true}) })
	client.On("message", func(values ...any) { say(line{"heard": each(values, plain)}) })
	commands(func(one line) {
		if values, ok := one["emit"].([]any); ok {
			client.Emit("message", each(values, binary)...)
		} else if values, ok := one["ask"].([]any); ok {
			client.EmitWithAck("message", each(values, binary)...)(func(values []any, err error) {
				say(line{"acknowledged": err == nil})
			})
		}
	})
	client.Disconnect()
	return nil
}

func webSocket(url string) error {
	client, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		return err
	}
	say(line{"open": true})
	go func() {
		for {
			_, data, err := client.ReadMessage()
			if err != nil {
				code := 1006
				if end, ok := err.(*websocket.CloseError); ok {
					code = end.Code
				}
				say(line{"closed": code})
				return
			}
			say(line{"heard": json.RawMessage(data)})
		}
	}()
	commands(func(one line) {
		if text, ok := one["send"].(string); ok {
			client.WriteMessage(websocket.TextMessage, []byte(text))
		}
	})
	return client.Close()
}

func main() {
	var err error
	if os.Args[1] == "socketio" {
		err = socketIO(os.Args[2], os.Args[3])
	} else {
		err = webSocket(os.Args[2])
	}
	if err != nil {
		say(line{"error": err.Error()})
		os.Exit(1)
	}
}
