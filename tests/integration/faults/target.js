// target.py in JavaScript: takes orders on a socket, a line each, whose number is the argument.
const net = require('net')

const kept = []
const channel = new net.Socket({ fd: Number(process.argv[2]) })
let rest = ''

channel.on('data', (data) => {
  const lines = (rest + data).split('\n')
  rest = lines.pop()
  for (const line of lines) {
    const [word, number] = line.split(' ')
    if (word === 'exit') process.exit(Number(number))
    if (word === 'grow') kept.push(Buffer.alloc(Number(number) * 1e6, 1))
    if (word === 'inspected') channel.write(require('inspector').url() ? 'yes\n' : 'no\n')
    else channel.write('done\n')
  }
})
channel.write(`ready ${process.pid}\n`)
