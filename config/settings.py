"""Settings of the hub. Everything that differs between two servers comes from `ecosystems.env`."""

import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from django.core.management.utils import get_random_secret_key
from django.templatetags.static import static
from psycopg.conninfo import conninfo_to_dict

from config import logs, mail
from ecosystems import env
from ecosystems.redis_client import SentinelUrl, is_sentinel

try:
    ENVIRONMENT = env.load()
    ENVIRONMENT.require_hub()
    if ENVIRONMENT.templates_dir and not ENVIRONMENT.templates_dir.is_dir():
        raise env.InvalidEnvironment(
            f"CORE_TEMPLATES_DIR holds '{ENVIRONMENT.templates_dir}': no folder is there"
        )
except env.InvalidEnvironment as error:
    print(f"signal-hub: {error}", file=sys.stderr)  # noqa: T201
    raise SystemExit(2) from None

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = ENVIRONMENT.django_debug
SECRET_KEY = ENVIRONMENT.django_secret_key or get_random_secret_key()

SIGNAL_ENDPOINT = urlsplit(ENVIRONMENT.signal_endpoint or "")
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
PUBLIC_HOST = env.host_name(SIGNAL_ENDPOINT.hostname or "")
ALLOWED_HOSTS = [*ENVIRONMENT.django_allowed_hosts, *filter(None, [PUBLIC_HOST]), *LOOPBACK]

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    # Its pages are imported with the addresses: no worker and no consumer needs them.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "django_structlog",
    "ecosystems",
    "aggregator",
    "commerce",
]

MIDDLEWARE = [
    "aggregator.health.livez.livez",
    "aggregator.http.request_log.RequestLogMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "aggregator.http.outage_pages.OutageMiddleware",
    "aggregator.http.page_middleware.PageSessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "aggregator.http.page_middleware.PageAuthentication",
    "aggregator.http.page_middleware.PageMessages",
    "aggregator.http.invalid_input.InvalidInputMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "aggregator.http.page_middleware.PageContentPolicy",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [*filter(None, [ENVIRONMENT.templates_dir]), BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def database(url: str) -> dict[str, Any]:
    """Return Django's settings of one database; options in the URL win over ours."""
    options = {name: value for name, value in conninfo_to_dict(url).items() if value is not None}
    parts = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    return {
        "ENGINE": "aggregator.postgres",
        **{setting: str(options.pop(name, "")) for setting, name in parts.items()},
        "CONN_MAX_AGE": 0,  # released to the process's pool
        # A server-side cursor outlives its transaction, which a transaction pooler does not allow.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {
            "connect_timeout": 5,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            "application_name": "signal-hub",
            **options,
        },
    }


DATABASES = {"default": database(ENVIRONMENT.core_db_url or "")} | {
    ecosystem: database(url)
    for ecosystem, url in ENVIRONMENT.ecosystem_db_urls.items()
    if url != ENVIRONMENT.core_db_url
}
DATABASE_ROUTERS = ["config.routers.EcosystemRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if ENVIRONMENT.redis_url:  # else the cache is Django's own, in each process
    CACHES: dict[str, dict[str, Any]] = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": [ENVIRONMENT.redis_url],  # a text would be cut at the commas between Sentinels
            "KEY_PREFIX": "signal_hub",
            "OPTIONS": {"CONNECTION_FACTORY": "config.cache.ConnectionFactory", "IGNORE_EXCEPTIONS": True},
        }
    }

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 1
AXES_LOCKOUT_TEMPLATE = "admin/locked.html"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_ENABLE_ADMIN = False  # the hub's own pages are in its theme
AXES_CLIENT_IP_CALLABLE = "aggregator.http.sign_in_limits.address_of_client"

# Without a server for e-mail, debug prints it; elsewhere nothing is sent and pages offer no links by e-mail.
EMAIL_URL = ENVIRONMENT.email_url or ("console:" if DEBUG else None)
if EMAIL_URL:
    globals().update(mail.settings_of(EMAIL_URL))
else:
    EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
EMAIL_TIMEOUT = 15
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENVIRONMENT.email_from

TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["config.formats"]

STATIC_URL = "static/"
# The files are served straight from the packages: no server needs a collectstatic, and each start would warn
# of a STATIC_ROOT that is not there.
WHITENOISE_USE_FINDERS = True

# The webhook has its own limit, checked before the body is read.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(2_621_440, ENVIRONMENT.webhook_max_bytes)

# Cookies travel over TLS alone, except where the hub's public address itself is plain HTTP on this machine.
PLAIN_HTTP = DEBUG or (SIGNAL_ENDPOINT.scheme == "http" and PUBLIC_HOST in LOOPBACK)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not PLAIN_HTTP
PUBLIC_ORIGIN = f"{SIGNAL_ENDPOINT.scheme}://{PUBLIC_HOST}" if PUBLIC_HOST else ""
if PUBLIC_HOST and SIGNAL_ENDPOINT.port not in {None, 443 if SIGNAL_ENDPOINT.scheme == "https" else 80}:
    PUBLIC_ORIGIN += f":{SIGNAL_ENDPOINT.port}"
CSRF_TRUSTED_ORIGINS = [PUBLIC_ORIGIN] if SIGNAL_ENDPOINT.scheme == "https" else []
SECURE_HSTS_SECONDS = 0 if PLAIN_HTTP else 31_536_000
if ENVIRONMENT.trusted_proxies:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SILENCED_SYSTEM_CHECKS = [
    "security.W008",  # TLS ends at the reverse proxy or tunnel, which redirects people; agents never are
    "security.W005",  # the operator's other subdomains are not the hub's to decide about
    "security.W021",  # nor is preloading
]

# Pages load only what the hub itself serves. The admin's theme evaluates attributes (Alpine.js) and sets
# styles in them. A browser applies `form-action` to redirects too, and paying leads to Stripe.
STRIPE_PAGES = (
    [ENVIRONMENT.stripe_api_base]
    if ENVIRONMENT.stripe_api_base
    else ["https://checkout.stripe.com", "https://billing.stripe.com"]
)
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/health", "/livez", "/metrics", "/log/"],
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'", "'unsafe-eval'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'", *STRIPE_PAGES],
    },
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "aggregator.http.problems.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}

# Pages of any origin may read what a key opens: a browser never adds a key by itself, as it does a cookie.
CORS_URLS_REGEX = r"^/(api/v1|log)/"
CORS_ALLOW_ALL_ORIGINS = True
CORS_ALLOW_METHODS = ["GET", "HEAD", "POST", "DELETE"]
CORS_ALLOW_HEADERS = ["authorization", "x-api-key", "content-type", "if-none-match", "last-event-id"]
CORS_EXPOSE_HEADERS = ["etag", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id"]

SPECTACULAR_SETTINGS = {
    "TITLE": "Signal Hub",
    "DESCRIPTION": "The feed of trading signals, for customers, and the webhook, for producers.",
    "TAGS": [{"name": "producers", "description": "Sending signals to the hub."}],
    "VERSION": "1",
    "SERVE_PERMISSIONS": [],
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["commerce.api.documentation.public_endpoints"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "Ecosystem": ["crypto", "forex", "stock"],
        "Action": ["BUY", "SELL", "HOLD", "CLOSE"],
        "EndpointState": ["active", "paused", "disabled"],
        "DeliveryState": ["waiting", "delivered", "failed", "withheld"],
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# The loops of a worker: by name, the dotted path of what makes one (see `aggregator.worker`). A transport
# that is read in the background is an entry here.
WORKER_LOOPS = {
    "streams": "aggregator.ingest.streams.configured_consumer",
    **{f"databases:{alias}": "aggregator.ingest.databases.DatabaseConsumer" for alias in DATABASES},
    "head": "aggregator.head_keeper.HeadKeeper",
    "rollups": "aggregator.arrivals.rollups.RollupFollower",
    "outcomes": "aggregator.track_record.scorer.Scorer",
    "prices": "aggregator.track_record.recorder.PriceRecorder",
    "transparency": "aggregator.transparency.sealer.Sealer",
    "source-streams": "aggregator.ingest.source_streams.source_consumer",
    "alerts": "aggregator.alerts.watcher.AlertWatcher",
    "webhooks": "commerce.webhooks.dispatcher.Dispatcher",
    "periodic": "aggregator.periodic.PeriodicJobs",
}
if not ENVIRONMENT.redis_url:
    del WORKER_LOOPS["streams"], WORKER_LOOPS["source-streams"]

# Slow jobs by name: the dotted path of a function, the interval in seconds, the function's arguments.
KEEP_DAYS = {
    **ENVIRONMENT.keep_days,
    "alert_notifications": 90,
    "dead_letter_bytes": 1,
    "axes_accessattempt": 1,
    "axes_accesslog": 90,
    "sender_minutes": 2,
}
PERIODIC_JOBS: dict[str, tuple[Any, ...]] = {
    "learn-cadences": ("aggregator.arrivals.cadence.learn_cadences", 3600.0),
    "update-instruments": ("aggregator.ledger.aliases.update_signals", 10.0),
    "fold-counters": ("aggregator.arrivals.counters.fold", 3600.0),
    "remove-old-rows": ("aggregator.arrivals.retention.prune", 3600.0, KEEP_DAYS),
    "forget-hook-bodies": ("aggregator.sources.arrival_times.forget_arrivals", 600.0),
    "notify-endpoint-owners": ("commerce.webhooks.owner_notifications.send_due", 15.0),
    "remove-old-messages": ("commerce.webhooks.message_retention.delete_old_messages", 3600.0),
    "anchor-checkpoint": ("aggregator.transparency.anchors.anchor_checkpoint", 3600.0),
    "forget-workers": ("aggregator.worker_states.delete_old_states", 3600.0),
    "expire-subscriptions": ("commerce.billing.subscriptions.expire_subscriptions", 600.0),
    "refresh-subscriptions": ("commerce.billing.stripe_sync.refresh_overdue_subscriptions", 3600.0),
}


def broker_url(url: str) -> str:
    """Return a Redis URL as kombu reads it: a scheme of its own for a socket, no options but TLS's.

    It takes user and password from before the host, and the database from the path, or from `virtual_host`
    beside a socket. Sentinels are a URL each.
    """
    if is_sentinel(url):
        target = SentinelUrl.parse(url)
        login = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
        at, database = f"{login}@" if login else "", target.server_options["db"]
        addresses = ((f"[{host}]" if ":" in host else host, port) for host, port in target.addresses)
        return ";".join(f"sentinel://{at}{host}:{port}/{database}" for host, port in addresses)
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    database, netloc = options.pop("db", ""), parts.netloc
    if "@" not in netloc and options.keys() & {"username", "password"}:
        login = ":".join(quote(options.get(name, ""), safe="") for name in ("username", "password"))
        netloc = f"{login}@{netloc}"
    if parts.scheme == "unix":
        scheme, path = "redis+socket", parts.path
        options = {"virtual_host": database} if database else {}
    else:
        scheme, path = parts.scheme, f"/{database}" if database else parts.path
        options = {name: value for name, value in options.items() if name.startswith("ssl_")}
    # Not urlunsplit, which leaves out the // before an empty host.
    return f"{scheme}://{netloc}{path}" + (f"?{urlencode(options)}" if options else "")


CELERY_BROKER_URL = broker_url(ENVIRONMENT.redis_url or "redis://")
if ENVIRONMENT.redis_url and ENVIRONMENT.redis_url.startswith("rediss://"):
    CELERY_BROKER_USE_SSL = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # for ever: the loops go on without Redis
CELERY_BROKER_CHANNEL_ERROR_RETRY = True  # likewise where it answers with an error, as a replica does
CELERY_WORKER_CONSUMER = "config.celery:Consumer"
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {"global_keyprefix": "signal_hub:celery:"}
if ENVIRONMENT.redis_url and is_sentinel(ENVIRONMENT.redis_url):
    SENTINELS = SentinelUrl.parse(ENVIRONMENT.redis_url)
    CELERY_BROKER_TRANSPORT_OPTIONS |= {
        "master_name": SENTINELS.service,
        "sentinel_kwargs": {"socket_connect_timeout": 2, "socket_timeout": 2, **SENTINELS.sentinel_options},
    }
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "run-periodic-jobs": {
        "task": "aggregator.tasks.run_periodic_jobs",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
}

LOGGING = logs.configure(ENVIRONMENT)
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.debug_page.SecretsFilter"

UNFOLD = {
    "SITE_TITLE": "Signal Hub",
    "SITE_HEADER": "Signal Hub",
    "SITE_SYMBOL": "hub",
    "LOGIN": {"form": "aggregator.http.sign_in_limits.SignInForm"},
    "DASHBOARD_CALLBACK": "aggregator.admin.dashboard.context",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda _request: static("signal_hub/favicon.svg"),
        }
    ],
    "STYLES": [lambda _request: static("signal_hub/hub.css")],
    "SCRIPTS": [lambda _request: static("signal_hub/names.js")],
    "SIDEBAR": {"navigation": "aggregator.admin.sidebar.navigation"},
    "SHOW_VIEW_ON_SITE": False,
}
