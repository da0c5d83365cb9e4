// A service made of nothing but the unmodified official package: it sends to a device over AMQP and waits for feedback.
//
// Reads one JSON object from standard input:
//   address       where the simulator listens on the standard ports; every name that ends in .test is found there
//   transport     amqp or amqp-ws
//   connection    connection string of the hub
//   deviceId, text, messageId, properties   the message
//   feedback      whether to wait for it
// Writes one JSON object to standard output. What goes wrong is told by the name of the package's error.
// The certificate authority comes by NODE_EXTRA_CA_CERTS.
'use strict';

const dns = require('node:dns');
const fs = require('node:fs');

function findNamesAt(address) {
  const lookup = dns.lookup;
  dns.lookup = (name, options, callback) => lookup(name.endsWith('.test') ? address : name, options, callback);
}

/** The first records of feedback. */
async function feedback(client) {
  const receiver = await new Promise((resolve, reject) =>
    client.getFeedbackReceiver((error, made) => (error ? reject(error) : resolve(made))),
  );
  return new Promise((resolve, reject) => {
    receiver.on('errorReceived', reject);
    receiver.on('message', (message) => {
      receiver.complete(message, (error) => (error ? reject(error) : resolve(JSON.parse(message.data.toString()))));
    });
  });
}

async function main() {
  const asked = JSON.parse(fs.readFileSync(0, 'utf8'));
  findNamesAt(asked.address);
  const { AmqpWs } = require('azure-iothub');
  const { Client } = require('azure-iothub');
  const { Message } = require('azure-iot-common');
  const client = Client.fromConnectionString(asked.connection, asked.transport === 'amqp-ws' ? AmqpWs : undefined);
  await client.open();
  const message = new Message(asked.text);
  message.messageId = asked.messageId;
  message.ack = asked.feedback ? 'full' : 'none';
  Object.entries(asked.properties || {}).forEach(([name, value]) => message.properties.add(name, value));
  await client.send(asked.deviceId, message);
  const records = asked.feedback ? await feedback(client) : null;
  await client.close();
  return { records };
}

main().then(
  (answer) => process.stdout.write(JSON.stringify(answer), () => process.exit(0)),
  (error) => process.stdout.write(JSON.stringify({ error: error.name, message: error.message }), () => process.exit(1)),
);
