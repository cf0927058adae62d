x = bytearray(64 << 20)
print("started")
