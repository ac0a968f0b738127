// Busy in one function, leaking in another that V8 inlines into its caller. Ends with code 7 when it holds enough (MB).
const held = []
const most = Number(process.argv[2] || 100) * 1e6
let taken = 0

function rememberRequest (number) {
  held.push({ number, body: 'x'.repeat(10) + number, list: new Array(200).fill(number) })
  taken += 1700
}

function busyWork () {
  let sum = 0
  for (let i = 0; i < 1e5; i++) sum += Math.sqrt(i)
  return JSON.parse(JSON.stringify({ sum, list: [1, 2, 3] }))
}

function tick (number) {
  for (let k = 0; k < 200; k++) {
    rememberRequest(number + k)
    busyWork.last = { number: k }
  }
  for (let k = 0; k < 10; k++) busyWork()
}

let number = 0
setInterval(() => {
  if (taken < most) tick(number += 200)
  else if (process.argv[3] !== 'stay') process.exit(7)
}, 5)
