"""Replies inside the response of a post: for protocols that answer a command in the request that brought it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from relay.model.codec import Frame


class Reply(Frame):
    """A frame that answers one command; `key` is that of the command.

    A codec of a protocol with such replies makes them of acks, errors and the like. When no post waits for it, a reply
    is sent like any other frame.
    """

    __slots__ = ("key",)

    def __init__(self, data: bytes, key: str) -> None:
        super().__init__(data)
        self.key = key


class PostReplies:
    """The replies that the response of one open post carries; a context manager that counts the post while it is open.

    `requeue` sends a reply like any other frame: at the end, one that no response has.
    """

    __slots__ = ("_complete", "_frames", "_keys", "_posts", "_requeue")

    def __init__(self, posts: "OpenPosts", requeue: Callable[[Frame], None]) -> None:
        self._posts = posts
        self._requeue = requeue
        self._keys: list[str] = []
        self._frames: dict[str, Frame] = {}
        self._complete: asyncio.Future[Sequence[Frame]] | None = None

    def __enter__(self) -> Self:
        self._posts.count += 1
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._posts.count -= 1
        if self._keys:
            self._posts.remove(self._keys, self)
            for frame in self._frames.values():
                self._requeue(frame)

    @property
    def expected(self) -> bool:
        """Whether the response carries replies."""
        return bool(self._keys)

    def expect(self, key: str) -> None:
        """Have the reply to a command go into this response; call it before the command is executed.

        A key for which an open post waits already is ignored: its second reply is sent like any other frame.
        """
        if self._posts.add(key, self):
            self._keys.append(key)

    def complete(self) -> "asyncio.Future[Sequence[Frame]]":
        """Return the replies in the order of `expect`, once all have come or the connection has ended."""
        self._complete = asyncio.get_running_loop().create_future()
        if self._posts.ended or len(self._frames) == len(self._keys):
            self.finish()
        return self._complete

    def put(self, reply: Reply) -> None:
        """Keep a reply for the response."""
        self._frames[reply.key] = reply
        if len(self._frames) == len(self._keys):
            self.finish()

    def finish(self) -> None:
        """End the waiting with the replies that have come."""
        if self._complete is not None and not self._complete.done():
            self._complete.set_result([self._frames[key] for key in self._keys if key in self._frames])

    def delivered(self) -> None:
        """Note that the response has the replies."""
        self._frames.clear()

    async def until_resumed(self) -> None:
        """Wait while the responses to posts are delayed; see `OpenPosts.pause`."""
        if self._posts.paused:
            await self._posts.until_resumed()


class OpenPosts:
    """The open posts of one connection, by the keys of the commands whose replies they wait for.

    `paused` says whether their responses are delayed, and `ended` whether the connection has ended.
    """

    __slots__ = ("_resumed", "_waiting", "count", "ended", "paused")

    def __init__(self) -> None:
        self._waiting: dict[str, PostReplies] | None = None
        self._resumed: asyncio.Event | None = None
        self.count = 0
        self.paused = False
        self.ended = False

    def pause(self, *, paused: bool) -> None:
        """Delay the responses to posts until resumed: a client sends the next post only after the answer to this."""
        self.paused = paused
        if not paused and self._resumed is not None:
            self._resumed.set()

    async def until_resumed(self) -> None:
        """Wait while responses are delayed and the connection has not ended."""
        if self.paused and not self.ended:
            if self._resumed is None:
                self._resumed = asyncio.Event()
            self._resumed.clear()
            await self._resumed.wait()

    def add(self, key: str, post: PostReplies) -> bool:
        """Have the reply to this command go to a post; False if another command of this key waits for its own."""
        if self._waiting is None:
            self._waiting = {}
        if key in self._waiting:
            return False
        self._waiting[key] = post
        return True

    def remove(self, keys: Iterable[str], post: PostReplies) -> None:
        """Have replies to these commands go to this post no longer."""
        for key in keys:
            if self._waiting is not None and self._waiting.get(key) is post:
                del self._waiting[key]

    def take(self, frame: Frame) -> bool:
        """Give a frame to the post that waits for it; False if it is no reply, or if none waits."""
        if not self._waiting or not isinstance(frame, Reply):
            return False
        post = self._waiting.pop(frame.key, None)
        if post is not None:
            post.put(frame)
        return post is not None

    def end(self) -> None:
        """Finish all posts that wait: the connection ends."""
        self.ended = True
        if self._resumed is not None:
            self._resumed.set()
        waiting, self._waiting = self._waiting, None
        for post in set((waiting or {}).values()):
            post.finish()
