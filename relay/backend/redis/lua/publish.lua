-- Publish a message that did not take the fast path.
return publish_slowly(ARGV)
