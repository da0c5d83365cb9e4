/* A device without an SDK. It registers with the Device Provisioning Service, connects to the hub that it is given,
 * sends telemetry and waits for one message or desired property. MQTT is libmosquitto's, TLS and HMAC are OpenSSL's:
 *
 *     cc -Wall -Wextra -Werror -o device device.c -lmosquitto -lcrypto
 *
 * Settings come by the environment, with the names of Azure's samples: others can see a command line.
 *     PROVISIONING_HOST, PROVISIONING_IDSCOPE, PROVISIONING_REGISTRATION_ID
 *     PROVISIONING_SYMMETRIC_KEY         base64, the device's own; or
 *     X509_CERT_FILE, X509_KEY_FILE      PEM: its certificate, followed by those of its issuers, and its private key
 *     SSL_CERT_FILE                      PEM: whom to trust as a server
 *     MQTT_PORT                          8883 without it
 *     GATEWAY_HOST                       where all names lead to, for networks that do not know them
 *     TELEMETRY, RECEIVE_SECONDS         what to send, and how long to wait for a message; 0 without it
 * The exit code says how far it came. */
#include <ctype.h>
#include <mosquitto.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DONE = 0, WRONG_SETTING = 2, NO_CONNECTION = 3, NOT_PROVISIONED = 4, NOT_AT_THE_HUB = 5, NOTHING_CAME = 6 };
enum { PATIENCE = 60, ATTEMPTS = 200, TOKEN_SECONDS = 3600, LONGEST_WAIT = 300 };

/* What came in. The callbacks write it; whoever waits for one of the numbers has set it to 0. */
static struct {
    int connected, reason, subscribed, published, received, status, retry_after, id;
    char text[8192];
} seen;

static _Noreturn void stop(int code, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("failed: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    exit(code);
}

static void say(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    if (vprintf(format, values) < 0 || putchar('\n') == EOF || fflush(stdout) != 0)
        exit(WRONG_SETTING); /* nobody can be told anything any more */
    va_end(values);
}

static void compose(char *to, size_t size, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int length = vsnprintf(to, size, format, values);
    va_end(values);
    if (length < 0 || (size_t)length >= size)
        stop(WRONG_SETTING, "a setting or an answer is too long for this device");
}

static void check(int result, const char *what)
{
    if (result != MOSQ_ERR_SUCCESS)
        stop(NO_CONNECTION, "%s: %s", what, mosquitto_strerror(result));
}

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static const char *needed(const char *name)
{
    const char *value = setting(name);
    if (!value)
        stop(WRONG_SETTING, "%s is not set", name);
    return value;
}

static int number(const char *name, int otherwise, int highest)
{
    char *end;
    const char *value = setting(name);
    long found = value ? strtol(value, &end, 10) : otherwise;
    if (found < 0 || found > highest || (value && *end))
        stop(WRONG_SETTING, "%s is no number from 0 to %d", name, highest);
    return (int)found;
}

static void percent_encode(char *to, size_t size, const char *from)
{
    for (*to = 0; *from; from++) {
        const char *form = isalnum((unsigned char)*from) || strchr("-._~", *from) ? "%c" : "%%%02X";
        size_t length = strlen(to);
        compose(to + length, size - length, form, (unsigned char)*from);
    }
}

/* A token for a resource: it says for how long it is good, and is signed with the key, which itself stays here. */
static void sign(char *token, size_t size, const char *resource, const char *more)
{
    const char *key = needed("PROVISIONING_SYMMETRIC_KEY");
    unsigned char secret[96], signature[EVP_MAX_MD_SIZE], base64[2 * EVP_MAX_MD_SIZE];
    unsigned int length = (unsigned int)strlen(key);
    char address[512], to_sign[600], encoded[256];
    long long expiry = (long long)time(NULL) + TOKEN_SECONDS;
    int bytes = length % 4 || length > sizeof secret ? -1 : EVP_DecodeBlock(secret, (const void *)key, (int)length);
    if (bytes <= 0)
        stop(WRONG_SETTING, "PROVISIONING_SYMMETRIC_KEY is no base64 of at most %zu characters", sizeof secret);
    bytes -= (key[length - 1] == '=') + (key[length - 2] == '='); /* OpenSSL counts the padding as bytes */
    percent_encode(address, sizeof address, resource);
    compose(to_sign, sizeof to_sign, "%s\n%lld", address, expiry);
    if (!HMAC(EVP_sha256(), secret, bytes, (const void *)to_sign, strlen(to_sign), signature, &length))
        stop(WRONG_SETTING, "HMAC failed");
    OPENSSL_cleanse(secret, sizeof secret);
    EVP_EncodeBlock(base64, signature, (int)length);
    percent_encode(encoded, sizeof encoded, (const char *)base64);
    compose(token, size, "SharedAccessSignature sr=%s&sig=%s&se=%lld%s", address, encoded, expiry, more);
}

/* Where the value of a member of a JSON object begins, or NULL. Members of the objects in it do not count. */
static const char *member(const char *at, const char *name)
{
    for (int depth = 0; at && *at; at++) {
        if (*at == '{' || *at == '[') {
            depth++;
        } else if ((*at == '}' || *at == ']') && --depth == 0) {
            return NULL;
        } else if (*at == '"') {
            const char *begin = ++at;
            while (*at && *at != '"')
                at += *at == '\\' && at[1] ? 2 : 1;
            size_t length = (size_t)(at - begin);
            const char *after = *at ? at + 1 + strspn(at + 1, " \t\r\n") : at;
            if (depth == 1 && *after == ':' && length == strlen(name) && memcmp(begin, name, length) == 0)
                return after + 1 + strspn(after + 1, " \t\r\n");
            if (!*at)
                return NULL;
        }
    }
    return NULL;
}

/* A text or number from an answer. Host names and IDs need no escapes, so there must be none. */
static void take(char *to, size_t size, const char *object, const char *name)
{
    const char *value = member(object, name);
    size_t quoted = value && *value == '"', length = value ? strcspn(value + quoted, quoted ? "\"" : ",}") : 0;
    if (!length || memchr(value, '\\', length + quoted))
        stop(NOT_PROVISIONED, "the answer has no plain %s", name);
    compose(to, size, "%.*s", (int)length, value + quoted);
}

static void on_log(struct mosquitto *client, void *unused, int level, const char *text)
{
    (void)client, (void)unused;
    if (level == MOSQ_LOG_ERR) /* why TLS refuses a server; there are no secrets in it */
        fprintf(stderr, "%s\n", text);
}

static void on_connect(struct mosquitto *client, void *unused, int reason)
{
    (void)client, (void)unused;
    seen.connected = 1;
    seen.reason = reason;
}

static void on_subscribe(struct mosquitto *client, void *unused, int id, int count, const int *granted)
{
    (void)client, (void)unused;
    if (id == seen.id)
        seen.subscribed = count == 1 && granted[0] <= 1 ? 1 : -1;
}

static void on_publish(struct mosquitto *client, void *unused, int id)
{
    (void)client, (void)unused;
    seen.published |= id == seen.id;
}

static void on_message(struct mosquitto *client, void *unused, const struct mosquitto_message *message)
{
    (void)client, (void)unused;
    const char *wait = strstr(message->topic, "&retry-after=");
    if (seen.received || message->payloadlen < 0 || (size_t)message->payloadlen >= sizeof seen.text)
        return; /* one at a time, and none that has no room */
    if (message->payloadlen > 0)
        memcpy(seen.text, message->payload, (size_t)message->payloadlen);
    seen.text[message->payloadlen] = 0;
    seen.retry_after = wait ? atoi(wait + strlen("&retry-after=")) : 2;
    seen.status = strncmp(message->topic, "$dps/registrations/res/", 23) ? 0 : atoi(message->topic + 23);
    seen.received = 1;
}

/* Lets libmosquitto work until a number is not 0 any more, or for so many seconds. */
static int wait_for(struct mosquitto *client, const int *what, int seconds)
{
    struct timespec now, end;
    if (clock_gettime(CLOCK_MONOTONIC, &end) != 0)
        stop(WRONG_SETTING, "there is no clock");
    for (end.tv_sec += seconds, now.tv_sec = 0; !*what && now.tv_sec < end.tv_sec;) {
        int result = mosquitto_loop(client, 250, 1);
        if (result != MOSQ_ERR_SUCCESS && !*what)
            stop(NO_CONNECTION, "the connection ended: %s", mosquitto_strerror(result));
        if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
            stop(WRONG_SETTING, "there is no clock");
    }
    return *what;
}

static struct mosquitto *connect_to(const char *host, const char *id, const char *user, const char *password, int code)
{
    const char *address = setting("GATEWAY_HOST") ? setting("GATEWAY_HOST") : host;
    struct mosquitto *client = mosquitto_new(id, true, NULL);
    if (!client)
        stop(NO_CONNECTION, "no memory for a client");
    mosquitto_log_callback_set(client, on_log);
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_subscribe_callback_set(client, on_subscribe);
    mosquitto_publish_callback_set(client, on_publish);
    mosquitto_message_callback_set(client, on_message);
    check(mosquitto_username_pw_set(client, user, password), "user name");
    /* libmosquitto verifies the server's chain and name unless told otherwise */
    const char *certificate = password ? NULL : needed("X509_CERT_FILE");
    const char *key = password ? NULL : needed("X509_KEY_FILE");
    check(mosquitto_tls_set(client, needed("SSL_CERT_FILE"), NULL, certificate, key, NULL), "files for TLS");
    seen.connected = 0;
    check(mosquitto_connect(client, address, number("MQTT_PORT", 8883, 65535), PATIENCE), host);
    if (!wait_for(client, &seen.connected, PATIENCE) || seen.reason)
        stop(code, "%s: %s", host, seen.connected ? mosquitto_connack_string(seen.reason) : "no answer");
    say("connected to %s as %s", host, id);
    return client;
}

static void subscribe(struct mosquitto *client, const char *filter)
{
    seen.subscribed = 0;
    check(mosquitto_subscribe(client, &seen.id, filter, 1), filter);
    if (wait_for(client, &seen.subscribed, PATIENCE) != 1)
        stop(NO_CONNECTION, "no subscription to %s", filter);
}

static void publish(struct mosquitto *client, const char *topic, const char *text)
{
    seen.published = 0;
    check(mosquitto_publish(client, &seen.id, topic, (int)strlen(text), text, 1, false), topic);
    if (!wait_for(client, &seen.published, PATIENCE))
        stop(NO_CONNECTION, "no acknowledgement of %s", topic);
}

static void end(struct mosquitto *client)
{
    check(mosquitto_disconnect(client), "end of a connection");
    mosquitto_destroy(client);
}

/* Registers, and asks again for as long as the service says 202; gives host name of the hub and device ID. */
static void provision(char *hub, char *device, size_t size)
{
    const char *host = needed("PROVISIONING_HOST"), *scope = needed("PROVISIONING_IDSCOPE");
    const char *id = needed("PROVISIONING_REGISTRATION_ID");
    char resource[256], user[320], token[1024], topic[320], body[320], operation[160], status[32], *password = NULL;
    if (strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:") != strlen(id))
        stop(WRONG_SETTING, "PROVISIONING_REGISTRATION_ID may hold letters, digits, - . _ and : only");
    compose(resource, sizeof resource, "%s/registrations/%s", scope, id);
    compose(user, sizeof user, "%s/api-version=2019-03-31", resource);
    if (setting("PROVISIONING_SYMMETRIC_KEY"))
        sign(password = token, sizeof token, resource, "&skn=registration");
    struct mosquitto *client = connect_to(host, id, user, password, NOT_PROVISIONED);
    OPENSSL_cleanse(token, sizeof token);
    subscribe(client, "$dps/registrations/res/#");
    compose(topic, sizeof topic, "$dps/registrations/PUT/iotdps-register/?$rid=1");
    compose(body, sizeof body, "{\"registrationId\":\"%s\"}", id);
    for (int attempt = 2; attempt <= ATTEMPTS; attempt++) {
        seen.received = 0;
        publish(client, topic, body);
        if (!wait_for(client, &seen.received, PATIENCE))
            stop(NOT_PROVISIONED, "%s does not answer", host);
        if (seen.status != 202 && seen.status < 429)
            break;
        if (seen.status == 202) { /* anything else means: the same again, later */
            take(operation, sizeof operation, seen.text, "operationId");
            compose(topic, sizeof topic, "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=%d&operationId=%s",
                    attempt, operation);
        }
        int pause = 0, seconds = seen.retry_after > LONGEST_WAIT ? LONGEST_WAIT : seen.retry_after;
        say("answer %d, asking again in %d s", seen.status, seconds);
        wait_for(client, &pause, seconds);
    }
    if (seen.status != 200) {
        take(status, sizeof status, seen.text, "errorCode");
        stop(NOT_PROVISIONED, "answer %d with error code %s", seen.status, status);
    }
    take(status, sizeof status, seen.text, "status");
    if (strcmp(status, "assigned") != 0)
        stop(NOT_PROVISIONED, "the registration is %s", status);
    take(hub, size, member(seen.text, "registrationState"), "assignedHub");
    take(device, size, member(seen.text, "registrationState"), "deviceId");
    say("assigned to %s as %s", hub, device);
    end(client);
}

int main(void)
{
    const char *telemetry = setting("TELEMETRY") ? setting("TELEMETRY") : "{\"temperature\": 21.5}";
    char hub[256], device[256], user[600], resource[600], topic[320], token[1024], *password = NULL;
    int seconds = number("RECEIVE_SECONDS", 0, 86400), code = DONE;
    if (!setting("PROVISIONING_SYMMETRIC_KEY") == !setting("X509_CERT_FILE"))
        stop(WRONG_SETTING, "set one of PROVISIONING_SYMMETRIC_KEY and X509_CERT_FILE");
    check(mosquitto_lib_init(), "libmosquitto");
    provision(hub, device, sizeof hub);

    compose(user, sizeof user, "%s/%s/?api-version=2021-04-12", hub, device);
    compose(resource, sizeof resource, "%s/devices/%s", hub, device);
    if (setting("PROVISIONING_SYMMETRIC_KEY"))
        sign(password = token, sizeof token, resource, "");
    struct mosquitto *client = connect_to(hub, device, user, password, NOT_AT_THE_HUB);
    OPENSSL_cleanse(token, sizeof token);
    seen.received = 0;
    compose(topic, sizeof topic, "devices/%s/messages/devicebound/#", device);
    subscribe(client, topic);
    subscribe(client, "$iothub/twin/PATCH/properties/desired/#");
    compose(topic, sizeof topic, "devices/%s/messages/events/", device);
    publish(client, topic, telemetry);
    say("telemetry sent");
    if (seconds) {
        if (wait_for(client, &seen.received, seconds))
            say("received %s", seen.text);
        else
            code = NOTHING_CAME;
    }
    end(client);
    check(mosquitto_lib_cleanup(), "libmosquitto");
    say(code == DONE ? "done" : "nothing came");
    return code;
}
