// A worker thread that leaks and is busy, below a main thread that does neither; ends with code 7 when it holds enough (MB).
const { Worker, isMainThread, workerData } = require('worker_threads')
if (isMainThread) {
  const w = new Worker(__filename, { workerData: Number(process.argv[2] || 100) })
  w.on('exit', () => { if (process.argv[3] !== 'stay') process.exit(7) })
  setInterval(() => {}, 1000)
} else {
  const held = []
  function keepSession (n) { held.push({ n, rows: new Array(200).fill(n), text: 'x'.repeat(10) + n }) }
  function crunch () { let s = 0; for (let i = 0; i < 1e5; i++) s += Math.sqrt(i); return s }
  let n = 0
  const timer = setInterval(() => {
    for (let k = 0; k < 200; k++) keepSession(n++)
    for (let k = 0; k < 10; k++) crunch()
    if (n * 1700 > workerData * 1e6) { clearInterval(timer); process.exit(3) }
  }, 5)
}
