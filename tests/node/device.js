// A device made of nothing but the unmodified official packages: it registers, or it uses its hub, over any transport.
//
// Reads one JSON object from standard input:
//   address       where the simulator listens on the standard ports; every name that ends in .test is found there, as
//                 lines of a hosts file would do
//   transport     mqtt, mqtt-ws, amqp, amqp-ws or https
//   credentials   registrationId, and either key (base64) or certificate with certificateKey (PEM, the chain in one)
//   register      provisioningHost and idScope, and payload if there is one; or nothing
//   use           or nothing:
//     hub, deviceId       where the device was assigned to
//     messages            telemetry: text, properties and perhaps messageId of each
//     batch               whether they go in one request
//     settle              what to do with messages from the cloud, one word after the other: complete, reject, abandon
//     reported            properties to report; without it the twin is left alone
//     method              name and payload of a direct method that the official service package calls meanwhile
//     serviceConnection   connection string of the hub for that package
// Writes one JSON object to standard output. What a transport cannot do is told by the name of the package's error.
// The certificate authority comes by NODE_EXTRA_CA_CERTS.
'use strict';

const dns = require('node:dns');
const fs = require('node:fs');

const TRANSPORTS = {
  mqtt: ['mqtt', 'Mqtt'],
  'mqtt-ws': ['mqtt', 'MqttWs'],
  amqp: ['amqp', 'Amqp'],
  'amqp-ws': ['amqp', 'AmqpWs'],
  https: ['http', 'Http'],
};

/** The class of a package for a transport; its name says whether it is for registration or for the hub. */
function transportOf(kind, name) {
  const [suffix, type] = TRANSPORTS[name];
  return require(`azure-iot-${kind}-${suffix}`)[type];
}

/** What the hosts file would say. */
function findNamesAt(address) {
  const lookup = dns.lookup;
  dns.lookup = (name, options, callback) => lookup(name.endsWith('.test') ? address : name, options, callback);
}

function securityOf({ registrationId, key, certificate, certificateKey }) {
  if (key) {
    const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
    return new SymmetricKeySecurityClient(registrationId, key);
  }
  const { X509Security } = require('azure-iot-security-x509');
  return new X509Security(registrationId, { cert: certificate, key: certificateKey });
}

async function register({ transport, credentials, register: wanted }) {
  const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
  const Transport = transportOf('provisioning-device', transport);
  const { provisioningHost, idScope, payload } = wanted;
  const client = ProvisioningDeviceClient.create(provisioningHost, idScope, new Transport(), securityOf(credentials));
  if (payload) {
    client.setProvisioningPayload(payload);
  }
  const state = await client.register();
  const { assignedHub, deviceId, status } = state;
  return { assignedHub, deviceId, status, payload: state.payload };
}

async function opened({ transport, credentials, use }) {
  const { Client } = require('azure-iot-device');
  const { key, certificate, certificateKey } = credentials;
  const proof = key ? `SharedAccessKey=${key}` : 'x509=true';
  const text = `HostName=${use.hub};DeviceId=${use.deviceId};${proof}`;
  const client = Client.fromConnectionString(text, transportOf('device', transport));
  const options = { ...(key ? {} : { cert: certificate, key: certificateKey }) };
  if (transport === 'https') {
    // the package is asked for messages as often as it can be
    options.http = { receivePolicy: { interval: 1 } };
  }
  if (Object.keys(options).length > 0) {
    await client.setOptions(options);
  }
  await client.open();
  return client;
}

async function send(client, { messages = [], batch }) {
  const { Message } = require('azure-iot-device');
  const made = messages.map(({ text, properties = {}, messageId }) => {
    const message = new Message(text);
    message.messageId = messageId;
    Object.entries(properties).forEach(([name, value]) => message.properties.add(name, value));
    return message;
  });
  if (batch) {
    await client.sendEventBatch(made);
  } else {
    for (const message of made) {
      await client.sendEvent(message);
    }
  }
  return made.length;
}

/** Receives as many messages as are to be settled, and does with each what is wanted. */
function receive(client, { settle }) {
  const received = [];
  return new Promise((resolve, reject) => {
    client.on('error', reject);
    client.on('message', async (message) => {
      const how = settle[received.length];
      const properties = message.properties.propertyList.map(({ key, value }) => [key, value]);
      const { messageId, correlationId } = message;
      received.push({ text: message.getData().toString(), properties, messageId, correlationId, how });
      try {
        await client[how](message);
      } catch (error) {
        reject(error);
      }
      if (received.length === settle.length) {
        client.removeAllListeners('message');
        resolve(received);
      }
    });
  });
}

async function exchangeTwin(client, { reported }) {
  const twin = await client.getTwin();
  await new Promise((resolve, reject) => {
    twin.properties.reported.update(reported, (error) => (error ? reject(error) : resolve()));
  });
  return JSON.parse(JSON.stringify(twin.properties));
}

async function answerMethod(client, { method, deviceId, serviceConnection }) {
  const asked = [];
  client.onDeviceMethod(method.name, (request, response) => {
    asked.push(request.payload);
    response.send(200, { heard: request.payload });
  });
  const service = require('azure-iothub').Client.fromConnectionString(serviceConnection);
  const { result } = await service.invokeDeviceMethod(deviceId, {
    methodName: method.name,
    payload: method.payload,
    connectTimeoutInSeconds: 30,
    responseTimeoutInSeconds: 30,
  });
  return { asked, answered: result };
}

/** What was done, or why the package does not do it over this transport. */
async function attempted(action) {
  try {
    return await action();
  } catch (error) {
    if (error.name === 'NotImplementedError') {
      return { error: error.name };
    }
    throw error;
  }
}

async function useHub(settings) {
  const { use } = settings;
  const client = await opened(settings);
  const result = {};
  try {
    if (use.messages) {
      result.sent = await attempted(() => send(client, use));
    }
    if (use.settle) {
      result.received = await attempted(() => receive(client, use));
    }
    if (use.reported) {
      result.twin = await attempted(() => exchangeTwin(client, use));
    }
    if (use.method) {
      result.method = await attempted(() => answerMethod(client, use));
    }
  } finally {
    await client.close();
  }
  return result;
}

async function main() {
  const settings = JSON.parse(fs.readFileSync(0, 'utf8'));
  findNamesAt(settings.address);
  const result = {};
  if (settings.register) {
    result.registration = await register(settings);
  }
  if (settings.use) {
    result.hub = await useHub(settings);
  }
  return result;
}

// clients of the service keep connections that nobody needs any more
main().then(
  (result) => fs.writeSync(1, JSON.stringify(result)) && process.exit(0),
  (error) => {
    // a rejected message is told as the protocol has it
    const { name, message, responseBody, condition, description } = error;
    const told = { error: name || condition, message: message || description, body: responseBody };
    fs.writeSync(1, JSON.stringify(told));
    process.exit(1);
  },
);
