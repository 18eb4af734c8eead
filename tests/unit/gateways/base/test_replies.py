"""Replies inside the response of a post."""

import asyncio

from relay.gateways.base.replies import OpenPosts, PostReplies, Reply
from relay.model.codec import Frame


def ignore(frame: Frame) -> None:
    """Nothing is to be done."""


async def test_a_post_without_commands_is_complete_at_once() -> None:
    assert PostReplies(OpenPosts(), ignore).complete().result() == []


async def test_a_post_is_complete_with_its_last_reply_in_the_order_of_its_commands() -> None:
    posts = OpenPosts()
    post = PostReplies(posts, ignore)
    for key in ("a", "b"):
        post.expect(key)
    complete = post.complete()
    first, second = Reply(b"1", "a"), Reply(b"2", "b")
    assert posts.take(second)
    assert not complete.done()
    assert posts.take(first)
    assert complete.result() == [first, second]


async def test_only_replies_that_a_post_waits_for_are_taken() -> None:
    posts = OpenPosts()
    assert not posts.take(Reply(b"1", "a"))
    post = PostReplies(posts, ignore)
    post.expect("a")
    assert not posts.take(Frame(b"1"))
    assert not posts.take(Reply(b"1", "b"))
    assert posts.take(Reply(b"1", "a"))
    assert not posts.take(Reply(b"1", "a"))


async def test_a_key_for_which_a_post_waits_is_not_waited_for_twice() -> None:
    posts = OpenPosts()
    first, second = PostReplies(posts, ignore), PostReplies(posts, ignore)
    for post in (first, second, first):
        post.expect("a")
    reply = Reply(b"1", "a")
    assert second.complete().result() == []
    assert posts.take(reply)
    assert first.complete().result() == [reply]


async def test_the_end_of_the_connection_completes_posts_with_the_replies_so_far() -> None:
    posts = OpenPosts()
    post = PostReplies(posts, ignore)
    post.expect("a")
    post.expect("b")
    complete = post.complete()
    reply = Reply(b"1", "a")
    posts.take(reply)
    posts.end()
    async with asyncio.timeout(5):
        assert await complete == [reply]
    late = PostReplies(posts, ignore)
    late.expect("c")
    assert late.complete().result() == []


async def test_the_end_of_a_post_sends_replies_that_no_response_has_like_other_frames() -> None:
    posts, sent = OpenPosts(), list[Frame]()
    reply = Reply(b"1", "a")
    for delivered in (True, False):
        with PostReplies(posts, sent.append) as post:
            assert posts.count == 1
            assert not post.expected
            post.expect("a")
            post.expect("b")
            assert post.expected
            posts.take(reply)
            if delivered:
                post.delivered()
    assert sent == [reply]
    assert posts.count == 0
    assert not posts.take(Reply(b"2", "b"))
