"""What master and worker say to each other: messages, and a session with numbers, acknowledgements and
resume. No sockets.
"""
