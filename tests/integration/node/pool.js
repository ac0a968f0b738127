// A pool of 17 worker threads of which one is busy and the others sit in a read of a FIFO, where nothing reaches them, below a
// main thread that works and leaks (80 MB) once they do, with a ballast that guard's thresholds are for. Ends with code 7 once
// a file is there, and each has read a byte: Node waits for them.
const { Worker, isMainThread, workerData } = require('worker_threads')
const { existsSync, openSync, readSync } = require('fs')
if (!isMainThread) {
  const { cells, fifo } = workerData
  Atomics.add(cells, 0, 1)
  if (fifo) readSync(openSync(fifo, 'r+'), Buffer.alloc(1))
  setInterval(function crunch () { for (let i = 0, s = 0; i < 1e6; i++) s += Math.sqrt(i) }, 5)
} else {
  const [told, fifo] = process.argv.slice(2)
  const cells = new Int32Array(new SharedArrayBuffer(4))
  const held = []
  for (let n = 0; n < 17; n++) new Worker(__filename, { workerData: { cells, fifo: n > 0 && fifo } })
  function keepInMain (n) { held.push({ n, rows: new Array(200).fill(n), text: 'x'.repeat(10) + n }) }
  setInterval(function tick () {
    if (existsSync(told)) process.exit(7)
    if (cells[0] < 17) return
    globalThis.ballast ??= Buffer.alloc(200e6, 1)
    for (let k = 0; k < 100 && held.length * 1700 < 80e6; k++) keepInMain(k)
    for (let i = 0, s = 0; i < 1e6; i++) s += Math.sqrt(i)
  }, 5)
}
