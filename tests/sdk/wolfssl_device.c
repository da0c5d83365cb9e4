/* A small device: TLS by wolfSSL, then whatever comes on the standard input, until an answer comes.
 *
 * Arguments: port on this machine, name of the server, file of its certificate authority.
 * Says "answer: " with the first bytes of the answer, or "refused: " with wolfSSL's reason.
 */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int refused(WOLFSSL *session, int result)
{
    char reason[WOLFSSL_MAX_ERROR_SZ];
    int error = wolfSSL_get_error(session, result);
    printf("refused: %d %s\n", error, wolfSSL_ERR_error_string(error, reason));
    return 1;
}

int main(int count, char **arguments)
{
    unsigned char bytes[4096];
    struct sockaddr_in address = {0};
    WOLFSSL_CTX *settings;
    WOLFSSL *session;
    int plain, result, at;

    if (count != 4 || wolfSSL_Init() != WOLFSSL_SUCCESS)
        return 2;
    settings = wolfSSL_CTX_new(wolfTLS_client_method());
    if (wolfSSL_CTX_load_verify_locations(settings, arguments[3], NULL) != WOLFSSL_SUCCESS) {
        printf("not loaded\n");
        return 1;
    }
    wolfSSL_CTX_set_verify(settings, WOLFSSL_VERIFY_PEER, NULL);

    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(arguments[1]));
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    plain = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(plain, (struct sockaddr *)&address, sizeof address) != 0)
        return 2;

    session = wolfSSL_new(settings);
    wolfSSL_UseSNI(session, WOLFSSL_SNI_HOST_NAME, arguments[2], (unsigned short)strlen(arguments[2]));
    wolfSSL_check_domain_name(session, arguments[2]);
    wolfSSL_set_fd(session, plain);
    result = wolfSSL_connect(session);
    if (result != WOLFSSL_SUCCESS)
        return refused(session, result);
    count = (int)fread(bytes, 1, sizeof bytes, stdin);
    result = wolfSSL_write(session, bytes, count);
    if (result > 0)
        result = wolfSSL_read(session, bytes, sizeof bytes);
    if (result <= 0)
        return refused(session, result);
    printf("answer:");
    for (at = 0; at < result; at++)
        printf(" %02x", bytes[at]);
    printf("\n");
    wolfSSL_shutdown(session);
    wolfSSL_free(session);
    wolfSSL_CTX_free(settings);
    wolfSSL_Cleanup();
    return close(plain);
}
