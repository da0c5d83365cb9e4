// Registers a device by its TPM with the unmodified official packages, and signs a token for its hub in the TPM.
//
// Reads one JSON object from standard input:
//   tpmPort            port of a TPM in the protocol of Microsoft's simulator
//   provisioningHost, idScope   the DPS; without them only the keys are read
//   transport          https, amqp or amqp-ws
//   proxyPort          for https: the HTTP proxy that leads to the DPS
//   address            for the others: where the simulator listens on the standard ports
//   tokenFile          new file for the token (0600)
// Writes one JSON object to standard output, the token masked. The certificate authority comes by NODE_EXTRA_CA_CERTS.
'use strict';

const dns = require('node:dns');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const tls = require('node:tls');

const { Http } = require('azure-iot-provisioning-device-http');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { TpmSecurityClient } = require('azure-iot-security-tpm');
const { Tpm } = require('tss.js');

const HOST = '127.0.0.1';
const TOKEN_SECONDS = 3600;

/** Leads every HTTPS request of this process through an HTTP proxy: the packages have no option for that. */
class ProxyAgent extends https.Agent {
  constructor(proxyPort) {
    super({ keepAlive: false });
    this.proxyPort = proxyPort;
  }

  createConnection(options, callback) {
    const target = `${options.host}:${options.port}`;
    const request = http.request({ host: HOST, port: this.proxyPort, method: 'CONNECT', path: target, agent: false });
    request.once('error', callback);
    request.once('connect', (response, socket) => {
      if (response.statusCode !== 200) {
        socket.destroy();
        callback(new Error(`the proxy refuses ${target} with ${response.statusCode}`));
        return;
      }
      callback(null, tls.connect({ ...options, path: undefined, socket, servername: options.host }));
    });
    request.end();
  }
}

/** The transport of the packages, on its way to the simulator. */
function transportOf({ transport, proxyPort, address }) {
  if (transport === 'https') {
    https.globalAgent = new ProxyAgent(proxyPort);
    return new Http();
  }
  const lookup = dns.lookup;
  dns.lookup = (name, options, callback) => lookup(name.endsWith('.test') ? address : name, options, callback);
  const { Amqp, AmqpWs } = require('azure-iot-provisioning-device-amqp');
  return transport === 'amqp' ? new Amqp() : new AmqpWs();
}

/** A method with a callback as a promise. */
function asked(object, method, ...values) {
  return new Promise((resolve, reject) => {
    object[method](...values, (error, result) => (error ? reject(error) : resolve(result)));
  });
}

async function hubToken(security, hub, deviceId) {
  const resource = encodeURIComponent(`${hub}/devices/${deviceId}`);
  const expiry = Math.floor(Date.now() / 1000) + TOKEN_SECONDS;
  const signature = await asked(security, 'signWithIdentity', Buffer.from(`${resource}\n${expiry}`));
  return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature.toString('base64'))}&se=${expiry}`;
}

async function main() {
  const settings = JSON.parse(fs.readFileSync(0, 'utf8'));
  const tpm = new Tpm(true, HOST, settings.tpmPort);
  try {
    const security = new TpmSecurityClient(undefined, tpm);
    const result = {
      registrationId: await asked(security, 'getRegistrationId'),
      endorsementKey: (await asked(security, 'getEndorsementKey')).toString('base64'),
      storageRootKey: (await asked(security, 'getStorageRootKey')).toString('base64'),
    };
    if (settings.provisioningHost) {
      const { provisioningHost, idScope } = settings;
      const client = ProvisioningDeviceClient.create(provisioningHost, idScope, transportOf(settings), security);
      if (settings.payload) {
        client.setProvisioningPayload(settings.payload);
      }
      const { registrationState } = await asked(client, 'register');
      const { assignedHub, deviceId, status } = registrationState;
      const token = await hubToken(security, assignedHub, deviceId);
      fs.writeFileSync(settings.tokenFile, token, { mode: 0o600, flag: 'wx' });
      const masked = token.replace(/sig=[^&]*(?=....&)/, 'sig=****');
      Object.assign(result, { assignedHub, deviceId, status, payload: registrationState.payload, token: masked });
    }
    console.log(JSON.stringify(result));
  } finally {
    tpm.close();
  }
}

main().catch((error) => {
  // a rejected message is told as the protocol has it
  const { name, message, responseBody, condition, description } = error;
  const told = { error: name || condition, message: message || description, body: responseBody };
  fs.writeSync(1, JSON.stringify(told));
  // the packages keep the connection of a device that was refused
  process.exit(1);
});
