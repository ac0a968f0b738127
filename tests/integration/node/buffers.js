// Holds more and more Buffers, whose bytes are none of V8's heap, until its stdin ends. Ends with code 7.
const held = []

function keepBuffer () {
  if (held.length < 4000) held.push(Buffer.alloc(256 * 1024, 1))
}

setInterval(keepBuffer, 10)
process.stdin.resume().on('end', () => process.exit(7))
