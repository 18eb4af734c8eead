"""Plain HTTP: Server-Sent Events or long polling to receive, and POST to send."""
