// The floor: for each message, the same bytes written to every other member of the room. No pings, no limits, nothing
// that a server needs; the cost of a message here is that of the kernel and of the copying.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EVENTS = 512, ROOMS = 1 << 17, PART = 1 << 16 };

typedef struct Client {
  int fd, room, place;
  size_t length, waiting;
  char *in, *out;
} Client;

typedef struct {
  Client **members;
  int count, capacity;
} Room;

static Room rooms[ROOMS];
static int poller;
static char chunk[1 << 20];

static void watch(Client *client, uint32_t events, int how) {
  struct epoll_event event = {.events = events, .data.ptr = client};
  epoll_ctl(poller, how, client->fd, &event);
}

static void join(Client *client, int number) {
  Room *room = &rooms[number % ROOMS];
  client->room = number % ROOMS;
  if (room->count == room->capacity) {
    room->capacity = room->capacity ? room->capacity * 2 : 2;
    room->members = realloc(room->members, (size_t)room->capacity * sizeof *room->members);
  }
  client->place = room->count;
  room->members[room->count++] = client;
}

static void leave(Client *client) {
  if (client->room >= 0) {
    Room *room = &rooms[client->room];
    room->members[client->place] = room->members[--room->count];
    room->members[client->place]->place = client->place;
  }
  close(client->fd);
  free(client->in);
  free(client->out);
  free(client);
}

static void put(Client *client, const char *data, size_t length) {
  ssize_t sent = client->waiting ? 0 : send(client->fd, data, length, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return;  // its own read says that it is gone
  if (sent < 0) sent = 0;
  if ((size_t)sent == length) return;
  size_t rest = length - (size_t)sent;
  client->out = realloc(client->out, client->waiting + rest);
  memcpy(client->out + client->waiting, data + sent, rest);
  if (!client->waiting) watch(client, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  client->waiting += rest;
}

static void flush(Client *client) {
  ssize_t sent = send(client->fd, client->out, client->waiting, MSG_NOSIGNAL);
  if (sent <= 0) return;
  client->waiting -= (size_t)sent;
  memmove(client->out, client->out + sent, client->waiting);
  if (!client->waiting) watch(client, EPOLLIN, EPOLL_CTL_MOD);
}

// The generator sends one key only, so there is one answer to it.
static void shake(Client *client, const char *request) {
  static const char answer[] =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
  const char *room = strstr(request, "/rooms/");
  if (!room) return;
  join(client, atoi(room + 7));
  put(client, answer, sizeof answer - 1);
}

static size_t relay(Client *client, char *frame, size_t length) {
  if (length < 2) return 0;
  size_t head = 6, size = (uint8_t)frame[1] & 127;
  if (size == 126) {
    if (length < 4) return 0;
    size = (size_t)(uint8_t)frame[2] << 8 | (uint8_t)frame[3], head = 8;
  }
  if (length < head + size) return 0;
  char *mask = frame + head - 4, *payload = frame + head;
  for (size_t i = 0; i < size; i++) payload[i] ^= mask[i & 3];
  char *start = payload - (size < 126 ? 2 : 4);
  memmove(start + 2, frame + 2, head - 6);
  start[0] = frame[0];
  start[1] = (char)(frame[1] & 127);
  Room *room = &rooms[client->room];
  for (int i = 0; i < room->count; i++)
    if (room->members[i] != client) put(room->members[i], start, (size_t)(payload + size - start));
  return head + size;
}

static void keep(Client *client, const char *data, size_t length) {
  if (!client->in) client->in = malloc(PART);
  if (length >= PART) length = 0;
  memmove(client->in, data, length);
  client->length = length;
  if (length) return;
  free(client->in);
  client->in = NULL;
}

static int receive(Client *client) {
  if (client->length) memcpy(chunk, client->in, client->length);
  ssize_t count = recv(client->fd, chunk + client->length, sizeof chunk - PART - 1, 0);
  if (count <= 0) return count < 0 && errno == EAGAIN;
  size_t length = client->length + (size_t)count, used = 0, step;
  chunk[length] = 0;
  if (client->room < 0) {
    if (strstr(chunk, "\r\n\r\n")) shake(client, chunk), used = length;
  } else {
    while ((step = relay(client, chunk + used, length - used))) used += step;
  }
  if (client->length || used < length) keep(client, chunk + used, length - used);
  return 1;
}

static void take(int listener) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Client *client = calloc(1, sizeof *client);
    client->fd = fd, client->room = -1;
    watch(client, EPOLLIN, EPOLL_CTL_ADD);
  }
}

static int listen_on(int port) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
    perror("write_loop");
    exit(1);
  }
  return listener;
}

int main(int count, char **arguments) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  poller = epoll_create1(0);
  int listener = listen_on(count > 1 ? atoi(arguments[1]) : 0);
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  struct epoll_event events[EVENTS];
  for (;;) {
    int ready = epoll_wait(poller, events, EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      Client *client = events[i].data.ptr;
      if (!client) {
        take(listener);
        continue;
      }
      if (events[i].events & EPOLLOUT) flush(client);
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !receive(client)) leave(client);
    }
  }
}
