// For Bun: busy in one function for so many ms, then the exit code.
function busyWork (): number {
  let sum = 0
  for (let i = 0; i < 1e5; i++) sum += Math.sqrt(i)
  return sum
}

const until = Date.now() + Number(process.argv[2])
while (Date.now() < until) busyWork()
process.exitCode = Number(process.argv[3] ?? 0)
