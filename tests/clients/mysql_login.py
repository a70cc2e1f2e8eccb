"""A MySQL driver logs in: `pure`, `libmysql` (mysql-connector-python without and with Oracle's library) or `pymysql`.

Arguments: the driver, a connection string, and the authority's file where TLS is wanted.
"""

import sys
from urllib.parse import urlsplit

driver, url, *authority = sys.argv[1:]
place = urlsplit(url)
options = {
    "host": place.hostname,
    "port": place.port,
    "user": place.username,
    "password": place.password,
    "database": place.path[1:] or None,
}
if driver == "pymysql":
    import pymysql as module

    options["ssl_disabled"] = not authority
    if authority:
        options |= {"ssl_ca": authority[0], "ssl_verify_identity": True}
else:
    import mysql.connector as module

    assert driver == "pure" or module.HAVE_CEXT
    options |= {"use_pure": driver == "pure", "ssl_disabled": not authority}
    if authority:
        options |= {"ssl_ca": authority[0], "ssl_verify_cert": True, "ssl_verify_identity": True}

try:
    connection = module.connect(**options)
except module.Error as error:
    print("refused", error.args[0], " ".join(str(error.args[-1]).split()), flush=True)
    sys.exit()
cursor = connection.cursor()
cursor.execute("SELECT 'let in'")
print(cursor.fetchone()[0], flush=True)
