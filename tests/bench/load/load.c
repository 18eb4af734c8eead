// The load generator: many clients in one thread, whose messages are made from templates. They speak WebSocket; or, with --post,
// plain HTTP: each hears over an event stream, and posts over a second connection. See ../README.md.
//
// Events are JSON lines on standard output, commands are lines on standard input:
//   flood SECONDS WARMUP WINDOW   closed loop, WINDOW messages in flight per room, senders take turns
//   cycle SECONDS WARMUP COUNT    closed loop, COUNT messages in flight in all rooms together, which take turns
//   steady SECONDS WARMUP RATE    open loop, RATE messages a second in all; latency counts from when a send was due
//   storm                         drop every connection and make it anew, all at once
//   pings                         say how many pings have arrived until now
//   quit                          as does the end of standard input
// With several ports, the members of a room connect to them in turn. With --yield, several generators share a core.
// With --stamps, latency counts from the send to the arrival in the kernel: the time in which the generator waits for its
// core, before it sends and before it reads, is no latency of the server.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/net_tstamp.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_STEPS = 16, MAX_HEADERS = 16, READ = 1 << 20, MARK = 21, EVENTS = 1024, SUB = 64, POWERS = 40, MAX_PORTS = 16 };
static const uint8_t MASK[4] = {0x37, 0xfa, 0x21, 0x3d};
static const uint64_t SECOND = 1000000000;

typedef enum { IDLE, CONNECTING, UPGRADING, SCRIPT, READY } State;

typedef struct {
  char *data;
  size_t length, room;
} Buffer;

// For the connection over which a client posts: `waiting` are the marks of the messages that it has to send, and
// `posting` says that the first of them is under way.
typedef struct {
  int fd, room, member, id, step;
  State state;
  bool posts, posting;
  Buffer in, out, waiting;
} Client;

typedef struct {
  uint64_t sent, received, heard;
  int next;
} Room;

typedef struct {
  bool await;
  const char *text;
} Step;

static struct {
  const char *host, *path, *publish, *post, *headers[MAX_HEADERS], *received, *answer;
  int ports[MAX_PORTS], port_count, rooms, members, first, connecting, size, header_count, step_count;
  bool echo, yields, stamps;
  Step steps[MAX_STEPS];
} options = {.host = "127.0.0.1", .path = "/", .rooms = 1, .members = 2, .connecting = 64, .size = 400};

static Client *clients, *posters;
static Room *rooms;
static int client_count, poller, opened, ready, failed, in_progress;
static uint64_t expected, started;
static char *scratch, *incoming;

static enum { NOTHING, CONNECT, FLOOD, STEADY, SETTLE } mode;
static bool measuring;
static uint64_t begins, ends, deadline, interval, due, window_start, messages, deliveries, busy, busy_before;
static uint64_t pings;
static uint64_t histogram[POWERS * SUB], recorded;
static int window, turn;
static bool stormy, cycling;

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void stop(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void complain(const char *what, const char *detail) {
  static int complaints;
  if (complaints++ < 5) fprintf(stderr, "load: %s: %.600s\n", what, detail);
}

// Latencies in nanoseconds, in buckets of 1/64 of their power of two.

static void record(uint64_t value) {
  int power = value < SUB ? 0 : 63 - __builtin_clzll(value) - 5;
  uint64_t index = (uint64_t)power * (SUB / 2) + (value >> power);
  histogram[index < POWERS * SUB ? index : POWERS * SUB - 1]++;
  recorded++;
}

static double percentile(double share) {
  uint64_t rank = (uint64_t)((double)recorded * share), seen = 0;
  for (uint64_t i = 0; i < POWERS * SUB; i++) {
    seen += histogram[i];
    if (seen > rank) {
      uint64_t power = i < SUB ? 0 : i / (SUB / 2) - 1;
      return (double)((i - power * (SUB / 2)) << power) / 1000.0;
    }
  }
  return 0;
}

// Templates.

static size_t expand(char *to, const char *template, const Client *client, uint64_t mark) {
  char *start = to, *pad = NULL;
  while (*template) {
    if (!strncmp(template, "{room}", 6)) {
      to += sprintf(to, "%d", client->room + options.first), template += 6;
    } else if (!strncmp(template, "{member}", 8)) {
      to += sprintf(to, "%d", client->member), template += 8;
    } else if (!strncmp(template, "{client}", 8)) {
      to += sprintf(to, "%d", client->id + options.first * options.members), template += 8;
    } else if (!strncmp(template, "{next}", 6)) {
      int next = client->room * options.members + (client->member + 1) % options.members;
      to += sprintf(to, "%d", next + options.first * options.members), template += 6;
    } else if (!strncmp(template, "{verb}", 6)) {
      to += sprintf(to, "%s", client->member ? "join" : "open"), template += 6;
    } else if (!strncmp(template, "{mark}", 6)) {
      to += sprintf(to, "#%019" PRIu64 "#", mark), template += 6;
    } else if (!strncmp(template, "{stamp}", 7)) {
      to += sprintf(to, "%019" PRIu64, mark), template += 7;
    } else if (!strncmp(template, "{pad}", 5)) {
      pad = to, template += 5;
    } else {
      *to++ = *template++;
    }
  }
  size_t length = (size_t)(to - start);
  if (pad && length < (size_t)options.size) {
    size_t missing = (size_t)options.size - length;
    memmove(pad + missing, pad, (size_t)(to - pad));
    memset(pad, 'x', missing);
    length += missing;
  }
  start[length] = 0;
  return length;
}

// Connections.

static void append(Buffer *buffer, const char *data, size_t length) {
  if (buffer->length + length > buffer->room) {
    buffer->room = (buffer->length + length) * 2;
    buffer->data = realloc(buffer->data, buffer->room);
    if (!buffer->data) stop("memory");
  }
  memcpy(buffer->data + buffer->length, data, length);
  buffer->length += length;
}

static void empty(Buffer *buffer) {
  free(buffer->data);
  *buffer = (Buffer){0};
}

static void watch(Client *client, uint32_t events, int how) {
  struct epoll_event event = {.events = events, .data.ptr = client};
  if (epoll_ctl(poller, how, client->fd, &event)) stop("epoll_ctl");
}

static void drop(Client *client) {
  if (client->fd < 0) return;
  struct linger reset = {.l_onoff = 1};
  setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(client->fd);
  client->fd = -1;
  empty(&client->in);
  empty(&client->out);
  empty(&client->waiting);
  client->posting = false;
  if (client->posts) {
    client->state = IDLE;
    return;
  }
  if (client->state == READY) ready--;
  else if (client->state != IDLE) in_progress--;
  client->state = IDLE;
}

static void fail(Client *client, const char *what, const char *detail) {
  complain(what, detail);
  failed++;
  drop(client);
}

static void write_out(Client *client, const char *data, size_t length) {
  if (client->fd < 0) return;
  ssize_t written = 0;
  if (!client->out.length) {
    written = send(client->fd, data, length, MSG_NOSIGNAL);
    if (written < 0) {
      if (errno != EAGAIN) return fail(client, "send", strerror(errno));
      written = 0;
    }
  }
  if ((size_t)written < length) {
    if (!client->out.length) watch(client, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    append(&client->out, data + written, length - (size_t)written);
  }
}

static void flush(Client *client) {
  ssize_t written = send(client->fd, client->out.data, client->out.length, MSG_NOSIGNAL);
  if (written < 0) {
    if (errno != EAGAIN) fail(client, "send", strerror(errno));
    return;
  }
  client->out.length -= (size_t)written;
  memmove(client->out.data, client->out.data + written, client->out.length);
  if (!client->out.length) watch(client, EPOLLIN, EPOLL_CTL_MOD);
}

static void send_frame(Client *client, int opcode, const char *payload, size_t length) {
  uint8_t *frame = (uint8_t *)scratch + READ / 2;
  size_t head = 2;
  frame[0] = (uint8_t)(0x80 | opcode);
  if (length < 126) {
    frame[1] = (uint8_t)(0x80 | length);
  } else {
    frame[1] = 0x80 | 126, frame[2] = (uint8_t)(length >> 8), frame[3] = (uint8_t)length, head = 4;
  }
  memcpy(frame + head, MASK, 4);
  head += 4;
  for (size_t i = 0; i < length; i++) frame[head + i] = (uint8_t)payload[i] ^ MASK[i & 3];
  write_out(client, (char *)frame, head + length);
}

static int port_of(const Client *client) {
  return options.ports[(client->room + client->member) % options.port_count];
}

static void open_connection(Client *client) {
  client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (client->fd < 0) stop("socket");
  int on = 1;
  setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  int stamps = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
  if (options.stamps && setsockopt(client->fd, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps)) stop("timestamps");
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port_of(client))};
  inet_pton(AF_INET, options.host, &address.sin_addr);
  client->state = CONNECTING;
  client->step = 0;
  if (connect(client->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) stop("connect");
  watch(client, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
}

static void open_next(void) {
  while (in_progress < options.connecting && opened < client_count) {
    in_progress++;
    open_connection(&clients[opened++]);
  }
}

static void post_next(Client *client);

static void upgrade(Client *client) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) return fail(client, "connect", strerror(error));
  watch(client, EPOLLIN, EPOLL_CTL_MOD);
  if (client->posts) {
    client->state = READY;
    return post_next(client);
  }
  client->state = UPGRADING;
  char *request = scratch;
  size_t length = (size_t)sprintf(request, "GET ");
  length += expand(request + length, options.path, client, 0);
  length += (size_t)sprintf(request + length, " HTTP/1.1\r\nHost: %s:%d\r\n%s", options.host, port_of(client),
                            options.post ? "Accept: text/event-stream\r\n"
                                         : "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
  for (int i = 0; i < options.header_count; i++) {
    length += expand(request + length, options.headers[i], client, 0);
    length += (size_t)sprintf(request + length, "\r\n");
  }
  length += (size_t)sprintf(request + length, "\r\n");
  write_out(client, request, length);
}

static void follow_script(Client *client) {
  while (client->fd >= 0 && client->step < options.step_count && !options.steps[client->step].await) {
    size_t length = expand(scratch, options.steps[client->step++].text, client, 0);
    send_frame(client, 1, scratch, length);
  }
  if (client->fd >= 0 && client->step == options.step_count) {
    client->state = READY;
    ready++;
    in_progress--;
  }
}

// Posts: one at a time, as a client sends them that keeps their order.

static void post_next(Client *client) {
  if (client->state != READY || client->posting || !client->waiting.length) return;
  client->posting = true;
  uint64_t mark;
  memcpy(&mark, client->waiting.data, sizeof mark);
  char *body = scratch + READ / 2;
  size_t size = expand(body, options.publish, client, mark);
  size_t length = (size_t)sprintf(scratch, "POST ");
  length += expand(scratch + length, options.post, client, 0);
  length += (size_t)sprintf(scratch + length, " HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: %zu\r\n\r\n", options.host,
                            port_of(client), size);
  memmove(scratch + length, body, size);
  write_out(client, scratch, length + size);
}

static void post(Client *client, uint64_t mark) {
  append(&client->waiting, (char *)&mark, sizeof mark);
  if (client->state == IDLE) open_connection(client);
  else post_next(client);
}

static size_t read_posted(Client *client, const char *data, size_t length) {
  const char *head = memmem(data, length, "\r\n\r\n", 4);
  if (!head) return 0;
  const char *field = memmem(data, (size_t)(head - data), "\r\ncontent-length: ", 18);
  size_t size = (size_t)(head - data) + 4 + (field ? strtoul(field + 18, NULL, 10) : 0);
  if (length < size) return 0;
  if (memcmp(data, "HTTP/1.1 200", 12)) {
    fail(client, "not posted", data);
    return length;
  }
  client->posting = false;
  client->waiting.length -= sizeof(uint64_t);
  memmove(client->waiting.data, client->waiting.data + sizeof(uint64_t), client->waiting.length);
  post_next(client);
  return size;
}

// Messages.

static void send_message(int number, uint64_t mark) {
  Room *room = &rooms[number];
  Client *client = &clients[number * options.members + room->next];
  room->next = (room->next + 1) % options.members;
  room->sent++;
  messages++;
  if (options.post) return post(&posters[client->id], mark);
  send_frame(client, 1, scratch, expand(scratch, options.publish, client, mark));
}

static int next_room(void) {
  return turn = (turn + 1) % options.rooms;
}

static void delivered(Client *client, const char *mark, uint64_t time) {
  uint64_t stamp = strtoull(mark + 1, NULL, 10);
  if (stamp < window_start) return;
  Room *room = &rooms[client->room];
  room->received++;
  room->heard = time;
  if (measuring) {
    deliveries++;
    record(time > stamp ? time - stamp : 0);
  }
  if (mode == FLOOD && room->received % expected == 0) send_message(cycling ? next_room() : client->room, now());
}

static void on_text(Client *client, const char *text, size_t length, uint64_t time) {
  if (options.received && length == strlen(options.received) && !memcmp(text, options.received, length)) {
    pings++;
    send_frame(client, 1, options.answer, strlen(options.answer));
  }
  if (client->state == SCRIPT) {
    const char *wanted = options.steps[client->step].text;
    if (memmem(text, length, wanted, strlen(wanted))) {
      client->step++;
      follow_script(client);
    }
    return;
  }
  const char *end = text + length, *at = text;
  while (client->fd >= 0 && (at = memchr(at, '#', (size_t)(end - at)))) {
    if (end - at < MARK) return;
    if (at[MARK - 1] == '#') {
      delivered(client, at, time);
      at += MARK;
    } else {
      at++;
    }
  }
}

static size_t frame_size(const uint8_t *data, size_t length, size_t *head) {
  if (length < 2) return 0;
  size_t payload = data[1] & 127;
  *head = 2;
  if (payload == 126) {
    if (length < 4) return 0;
    payload = (size_t)data[2] << 8 | data[3], *head = 4;
  } else if (payload == 127) {
    if (length < 10) return 0;
    payload = 0, *head = 10;
    for (int i = 2; i < 10; i++) payload = payload << 8 | data[i];
  }
  return *head + payload;
}

static size_t read_frames(Client *client, const char *data, size_t length, uint64_t time) {
  size_t used = 0, head, size;
  while (client->fd >= 0 && (size = frame_size((const uint8_t *)data + used, length - used, &head))) {
    if (length - used < size) break;
    int opcode = data[used] & 15;
    if (opcode == 1) on_text(client, data + used + head, size - head, time);
    else if (opcode == 8) fail(client, "closed", size - head > 2 ? data + used + head + 2 : "without a reason");
    else if (opcode == 9) pings++, send_frame(client, 10, data + used + head, size - head);
    used += size;
  }
  return used;
}

// Whole events, also if they came in pieces.
static size_t read_events(Client *client, const char *data, size_t length, uint64_t time) {
  while (length > 1 && memcmp(data + length - 2, "\n\n", 2)) length--;
  if (length < 2) return 0;
  on_text(client, data, length, time);
  return length;
}

static size_t read_answer(Client *client, const char *data, size_t length) {
  const char *end = memmem(data, length, "\r\n\r\n", 4);
  if (!end) return 0;
  if (memcmp(data, options.post ? "HTTP/1.1 200" : "HTTP/1.1 101", 12)) {
    fail(client, "refused", data);
    return length;
  }
  client->state = SCRIPT;
  follow_script(client);
  return (size_t)(end - data) + 4;
}

// The time at which the kernel got the last of these bytes; the kernel tells it by the wall clock.
static uint64_t arrival(struct msghdr *message) {
  for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_TIMESTAMPING) continue;
    struct timespec arrived, wall;
    memcpy(&arrived, CMSG_DATA(part), sizeof arrived);
    clock_gettime(CLOCK_REALTIME, &wall);
    int64_t ago = (int64_t)(wall.tv_sec - arrived.tv_sec) * (int64_t)SECOND + wall.tv_nsec - arrived.tv_nsec;
    return now() - (uint64_t)(ago > 0 ? ago : 0);
  }
  stop("the kernel tells no time of arrival");
  return 0;
}

// Reads into `incoming`; `time` is that of the read, or with --stamps that of the arrival.
static ssize_t receive(const Client *client, uint64_t *time) {
  char control[256] __attribute__((aligned(8)));
  struct iovec into = {.iov_base = incoming, .iov_len = READ - 1};
  struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t count = options.stamps ? recvmsg(client->fd, &message, 0) : recv(client->fd, incoming, READ - 1, 0);
  *time = options.stamps && count > 0 ? arrival(&message) : now();
  return count;
}

static void read_in(Client *client) {
  uint64_t time;
  ssize_t count = receive(client, &time);
  if (count < 0 && errno == EAGAIN) return;
  if (count == 0 && client->posts && !client->posting) return drop(client);
  if (count <= 0) return fail(client, "lost", count ? strerror(errno) : "end of stream");
  char *data = incoming;
  size_t length = (size_t)count;
  if (client->in.length) {
    append(&client->in, incoming, length);
    data = client->in.data, length = client->in.length;
  }
  size_t used = 0;
  if (client->posts) used = read_posted(client, data, length);
  else if (client->state == UPGRADING) used = read_answer(client, data, length);
  if (!client->posts && client->fd >= 0 && client->state >= SCRIPT) {
    used += (options.post ? read_events : read_frames)(client, data + used, length - used, time);
  }
  if (client->fd < 0) return;
  if (data == incoming) {
    if (used < length) append(&client->in, data + used, length - used);
  } else {
    client->in.length -= used;
    memmove(client->in.data, client->in.data + used, client->in.length);
    if (!client->in.length) empty(&client->in);
  }
}

// Phases.

static void say_connected(const char *event) {
  double seconds = (double)(now() - started) / 1e9;
  printf("{\"event\":\"%s\",\"connections\":%d,\"failed\":%d,\"seconds\":%.3f,\"handshakes_per_second\":%.0f,"
         "\"cpu\":%.3f}\n", event, ready, failed, seconds, ready / seconds, (double)(busy - busy_before) / 1e9);
}

static void say_end(void) {
  double seconds = (double)(ends - begins) / 1e9;
  printf("{\"event\":\"end\",\"seconds\":%.3f,\"messages\":%" PRIu64 ",\"deliveries\":%" PRIu64
         ",\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"cpu\":%.3f}\n",
         seconds, messages, deliveries, percentile(0.5), percentile(0.99), percentile(0.999),
         (double)(busy - busy_before) / 1e9);
}

static void say_lost(void) {
  uint64_t sent = 0, received = 0;
  for (int i = 0; i < options.rooms; i++) sent += rooms[i].sent, received += rooms[i].received;
  printf("{\"event\":\"settled\",\"lost\":%" PRId64 "}\n", (int64_t)(sent * expected - received));
}

static void begin_load(double seconds, double warmup) {
  window_start = now();
  begins = window_start + (uint64_t)(warmup * 1e9);
  ends = begins + (uint64_t)(seconds * 1e9);
  for (int i = 0; i < options.rooms; i++) rooms[i] = (Room){.heard = window_start, .next = rooms[i].next};
  memset(histogram, 0, sizeof histogram);
  measuring = false;
  recorded = messages = deliveries = 0;
}

static void command(char *line) {
  double seconds = 0, warmup = 0, number = 0;
  char name[16] = "";
  sscanf(line, "%15s %lf %lf %lf", name, &seconds, &warmup, &number);
  if (!strcmp(name, "flood")) {
    begin_load(seconds, warmup);
    mode = FLOOD;
    cycling = false;
    window = (int)number;
    for (int turns = 0; turns < window; turns++)
      for (int room = 0; room < options.rooms; room++) send_message(room, now());
  } else if (!strcmp(name, "cycle")) {
    begin_load(seconds, warmup);
    mode = FLOOD;
    cycling = true;
    for (int count = 0; count < (int)number; count++) send_message(next_room(), now());
  } else if (!strcmp(name, "steady")) {
    begin_load(seconds, warmup);
    mode = STEADY;
    interval = (uint64_t)(1e9 / number);
    due = window_start;
  } else if (!strcmp(name, "storm")) {
    mode = CONNECT;
    stormy = true;
    started = now();
    busy_before = busy;
    for (int i = 0; i < client_count; i++) drop(&clients[i]);
    opened = failed = in_progress = ready = 0;
  } else if (!strcmp(name, "pings")) {
    printf("{\"event\":\"pings\",\"count\":%" PRIu64 "}\n", pings);
  } else {
    exit(0);
  }
}

static void read_commands(void) {
  char line[128];
  if (!fgets(line, sizeof line, stdin)) exit(0);
  command(line);
}

// A lost message must not end the closed loop of its room; a room that is only slow must not be given more.
static void wake_silent_rooms(uint64_t time) {
  for (int i = 0; i < options.rooms; i++) {
    Room *room = &rooms[i];
    if (time > room->heard && time - room->heard > 4 * SECOND) {
      room->heard = time;
      send_message(i, time);
    }
  }
}

static uint64_t outstanding(void) {
  uint64_t sent = 0, received = 0;
  for (int i = 0; i < options.rooms; i++) sent += rooms[i].sent, received += rooms[i].received;
  return sent * expected > received ? sent * expected - received : 0;
}

static void advance(uint64_t time) {
  static uint64_t checked;
  if (mode == CONNECT) {
    open_next();
    if (opened == client_count && !in_progress) {
      say_connected(stormy ? "stormed" : "ready");
      mode = NOTHING;
    }
  }
  if (mode == STEADY)
    for (; due <= time; due += interval) send_message(next_room(), options.stamps ? now() : due);
  if (mode == FLOOD && !cycling && time - checked > SECOND) {
    checked = time;
    wake_silent_rooms(time);
  }
  if ((mode == FLOOD || mode == STEADY) && !measuring && time >= begins) {
    measuring = true;
    messages = 0;
    begins = time;
    busy_before = busy;
    puts("{\"event\":\"begin\"}");
  }
  if (measuring && time >= ends) {
    ends = time;
    measuring = false;
    mode = SETTLE;
    deadline = time + 3 * SECOND;
    say_end();
  }
  if (mode == SETTLE && (!outstanding() || time > deadline)) {
    mode = NOTHING;
    say_lost();
  }
}

// A few microseconds in which the core's other hyperthread, which may be the server's, has it to itself.
static void rest(void) {
  if (options.yields) sched_yield();
#if defined(__x86_64__)
  for (int i = 0; i < 64; i++) __builtin_ia32_pause();
#endif
}

static void poll_once(void) {
  static struct epoll_event events[EVENTS];
  // While there is something to measure it never sleeps: to wake it would cost the server a good part of each write,
  // which clients that are on machines of their own do not. A crowd that storms does sleep, because beside it, on the
  // same core, another generator measures latency.
  bool quiet = mode == NOTHING || mode == SETTLE || (mode == CONNECT && stormy);
  int count = epoll_wait(poller, events, EVENTS, quiet ? 20 : 0);
  if (!count && !quiet) rest();
  uint64_t began = now();
  for (int i = 0; i < count; i++) {
    Client *client = events[i].data.ptr;
    if (!client) {
      read_commands();
    } else if (client->fd >= 0) {
      if (client->state == CONNECTING) upgrade(client);
      else if (events[i].events & EPOLLOUT) flush(client);
      if (client->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_in(client);
    }
  }
  if (count > 0) busy += now() - began;
}

static void add_ports(char *list) {
  for (char *port = strtok(list, ","); port && options.port_count < MAX_PORTS; port = strtok(NULL, ","))
    options.ports[options.port_count++] = atoi(port);
}

static void set(int option, char *value) {
  char *equals = strchr(value ? value : "", '=');
  switch (option) {
    case 'h': options.host = value; break;
    case 'p': add_ports(value); break;
    case 'r': options.rooms = atoi(value); break;
    case 'm': options.members = atoi(value); break;
    case 'f': options.first = atoi(value); break;
    case 'c': options.connecting = atoi(value); break;
    case 's': options.size = atoi(value); break;
    case 'e': options.echo = true; break;
    case 'y': options.yields = true; break;
    case 't': options.stamps = true; break;
    case 'P': options.path = value; break;
    case 'H': options.headers[options.header_count++ % MAX_HEADERS] = value; break;
    case 'S': options.steps[options.step_count++ % MAX_STEPS] = (Step){false, value}; break;
    case 'A': options.steps[options.step_count++ % MAX_STEPS] = (Step){true, value}; break;
    case 'B': options.publish = value; break;
    case 'O': options.post = value; break;
    case 'R':
      if (!equals) exit(2);
      *equals = 0;
      options.received = value, options.answer = equals + 1;
      break;
    default: exit(2);
  }
}

static void read_options(int count, char **arguments) {
  static const struct option known[] = {
      {"host", 1, 0, 'h'},    {"port", 1, 0, 'p'},       {"rooms", 1, 0, 'r'}, {"members", 1, 0, 'm'},
      {"first", 1, 0, 'f'},   {"connecting", 1, 0, 'c'}, {"size", 1, 0, 's'},  {"echo", 0, 0, 'e'},
      {"path", 1, 0, 'P'},    {"header", 1, 0, 'H'},     {"send", 1, 0, 'S'},  {"await", 1, 0, 'A'},
      {"publish", 1, 0, 'B'}, {"reply", 1, 0, 'R'},      {"post", 1, 0, 'O'},  {"yield", 0, 0, 'y'},
      {"stamps", 0, 0, 't'},  {0, 0, 0, 0}};
  int option;
  while ((option = getopt_long(count, arguments, "", known, NULL)) != -1) set(option, optarg);
  if (!options.port_count || !options.publish) {
    fputs("load: --port and --publish are needed\n", stderr);
    exit(2);
  }
}

int main(int count, char **arguments) {
  read_options(count, arguments);
  setvbuf(stdout, NULL, _IOLBF, 0);
  setvbuf(stdin, NULL, _IONBF, 0);
  client_count = options.rooms * options.members;
  expected = (uint64_t)(options.echo ? options.members : options.members - 1);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  clients = calloc((size_t)client_count, sizeof *clients);
  posters = calloc((size_t)client_count, sizeof *posters);
  rooms = calloc((size_t)options.rooms, sizeof *rooms);
  scratch = malloc(READ);
  incoming = malloc(READ);
  if (!clients || !posters || !rooms || !scratch || !incoming) stop("memory");
  for (int i = 0; i < client_count; i++) {
    clients[i] = (Client){.fd = -1, .id = i, .room = i / options.members, .member = i % options.members};
    posters[i] = clients[i];
    posters[i].posts = true;
  }
  poller = epoll_create1(0);
  struct epoll_event input = {.events = EPOLLIN};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &input)) stop("standard input");
  mode = CONNECT;
  started = now();
  while (true) {
    poll_once();
    advance(now());
  }
}
