-- Publish one message that has a call of its own.
return publish_slowly(ARGV)
