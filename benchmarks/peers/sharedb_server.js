// ShareDB on ws: documents in memory, type json1. A document is made of the notebook DIR/NAME when
// it is first asked for (GET /NAME). Its cells are addressed by id, as this project does it.
//   node sharedb_server.js MODULES PORT DIR

const { createRequire } = require('module')
const fs = require('fs')
const http = require('http')
const path = require('path')

const [modules, port, folder] = process.argv.slice(2)
const from = createRequire(path.join(modules, 'index.js'))
const ShareDB = from('sharedb')
const json1 = from('ot-json1')
const JSONStream = from('@teamwork/websocket-json-stream')
const { WebSocketServer } = from('ws')

ShareDB.types.register(json1.type)
const backend = new ShareDB()
const connection = backend.connect()

function asDocument ({ cells, metadata }) {
  return {
    cells: Object.fromEntries(cells.map(cell => [cell.id, cell])),
    order: cells.map(cell => cell.id),
    metadata
  }
}

const loaded = new Map() // name -> promise

function load (name) {
  const file = path.join(folder, name)
  const document = connection.get('notebooks', name)
  return fs.promises.readFile(file).then(text => new Promise((resolve, reject) => {
    document.create(asDocument(JSON.parse(text)), json1.type.uri, error => {
      document.destroy() // what this connection holds of it
      error ? reject(error) : resolve()
    })
  }))
}

const server = http.createServer((request, response) => {
  const name = decodeURIComponent(request.url.slice(1))
  if (!name) return response.end()
  if (!loaded.has(name)) loaded.set(name, load(name))
  loaded.get(name).then(
    () => response.writeHead(204).end(),
    error => response.writeHead(500).end(String(error))
  )
})
new WebSocketServer({ server }).on('connection', socket => {
  backend.listen(new JSONStream(socket))
})
server.listen(Number(port), '127.0.0.1')
