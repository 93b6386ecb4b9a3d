/* Credentials from PEM files. The core takes what can't be used without a word and fails later, so
 * OpenSSL reads the files first. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/rpc/internal.h"

#define MAX_PEM ((size_t)1 << 20)

typedef struct pem_texts {
    kd_buf ca, cert, key; /* empty where no file was named */
} pem_texts;

static void texts_free(pem_texts *t)
{
    kd_buf_free(&t->ca);
    if (t->key.data)
        OPENSSL_cleanse(t->key.data, t->key.len);
    kd_buf_free(&t->key);
    kd_buf_free(&t->cert);
}

/* No pass phrase is asked for. */
static int no_phrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

/* Why OpenSSL read nothing: what it has no memory for is not the file's fault. */
static kd_status unread(const char *path, const char *what, kd_error *err)
{
    if (ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE)
        return kd_error_memory(err, path);
    return kd_error_set(err, KD_INVALID_ARGUMENT, "%s has no %s (PEM)", path, what);
}

/* The first one; *out NULL on failure. */
static kd_status read_certificate(const char *path, const kd_buf *text, X509 **out, kd_error *err)
{
    ERR_clear_error();
    BIO *const bio = BIO_new_mem_buf(text->data, (int)text->len);
    *out = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (!bio)
        return kd_error_memory(err, path);
    return *out ? KD_OK : unread(path, "certificate", err);
}

static kd_status read_key(const char *path, const kd_buf *text, EVP_PKEY **out, kd_error *err)
{
    ERR_clear_error();
    BIO *const bio = BIO_new_mem_buf(text->data, (int)text->len);
    *out = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_phrase, NULL) : NULL;
    BIO_free(bio);
    if (!bio)
        return kd_error_memory(err, path);
    return *out ? KD_OK : unread(path, "private key without a pass phrase", err);
}

static kd_status check_certificate(const char *path, const kd_buf *text, kd_error *err)
{
    X509 *found;
    const kd_status status = read_certificate(path, text, &found, err);
    X509_free(found);
    return status;
}

/* The key is the certificate's. */
static kd_status check_pair(const kd_tls *tls, const pem_texts *t, kd_error *err)
{
    X509 *cert = NULL;
    EVP_PKEY *key = NULL;
    kd_status status = read_certificate(tls->cert, &t->cert, &cert, err);
    if (status == KD_OK)
        status = read_key(tls->key, &t->key, &key, err);
    if (status == KD_OK && X509_check_private_key(cert, key) != 1)
        status = kd_error_set(
            err, KD_INVALID_ARGUMENT, "the key in %s is not the one of %s", tls->key, tls->cert);
    X509_free(cert);
    EVP_PKEY_free(key);
    return status;
}

/* With a NUL behind it, for the core. */
static kd_status read_text(const char *path, kd_buf *text, kd_error *err)
{
    kd_status status = kd_file_read(path, MAX_PEM, text, err);
    kd_buf_append(text, "", 1);
    if (status == KD_OK && !kd_buf_ok(text))
        status = kd_error_memory(err, path);
    return status;
}

static kd_status texts_read(pem_texts *t, const kd_tls *tls, kd_error *err)
{
    kd_status status = KD_OK;
    if (!tls->cert != !tls->key)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "TLS needs certificate and key together; %s is alone",
            tls->cert ? tls->cert : tls->key);
    if (tls->ca)
        status = read_text(tls->ca, &t->ca, err);
    if (status == KD_OK && tls->ca)
        status = check_certificate(tls->ca, &t->ca, err);
    if (status == KD_OK && tls->cert)
        status = read_text(tls->cert, &t->cert, err);
    if (status == KD_OK && tls->key)
        status = read_text(tls->key, &t->key, err);
    if (status == KD_OK && tls->cert)
        status = check_pair(tls, t, err);
    return status;
}

kd_status kd_tls_check(const kd_tls *tls, kd_error *err)
{
    pem_texts t = {KD_BUF_INIT, KD_BUF_INIT, KD_BUF_INIT};
    const kd_status status = texts_read(&t, tls, err);
    texts_free(&t);
    return status;
}

kd_status kd_tls_server(grpc_server_credentials **out, const kd_tls *tls, kd_error *err)
{
    pem_texts t = {KD_BUF_INIT, KD_BUF_INIT, KD_BUF_INIT};
    *out = NULL;
    if (!tls) {
        *out = grpc_insecure_server_credentials_create();
        return KD_OK;
    }
    kd_status status =
        tls->cert ? texts_read(&t, tls, err)
                  : kd_error_set(err, KD_INVALID_ARGUMENT, "a server's TLS needs a certificate");
    if (status == KD_OK) {
        grpc_ssl_pem_key_cert_pair pair = {(const char *)t.key.data, (const char *)t.cert.data};
        *out = grpc_ssl_server_credentials_create_ex((const char *)t.ca.data, &pair, 1,
            tls->ca ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                    : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            NULL);
    }
    texts_free(&t);
    return status;
}

kd_status kd_tls_channel(grpc_channel_credentials **out, const kd_tls *tls, kd_error *err)
{
    pem_texts t = {KD_BUF_INIT, KD_BUF_INIT, KD_BUF_INIT};
    *out = NULL;
    if (!tls) {
        *out = grpc_insecure_credentials_create();
        return KD_OK;
    }
    const kd_status status = texts_read(&t, tls, err);
    if (status == KD_OK) {
        grpc_ssl_pem_key_cert_pair pair = {(const char *)t.key.data, (const char *)t.cert.data};
        *out = grpc_ssl_credentials_create(
            (const char *)t.ca.data, tls->cert ? &pair : NULL, NULL, NULL);
    }
    texts_free(&t);
    return status;
}
