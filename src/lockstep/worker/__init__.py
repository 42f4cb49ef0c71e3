"""The agent: runs commands, keeps unacknowledged output on disk, ends whole process trees. It must stay
light: msgspec and websockets only.
"""
