using System.Net.Sockets;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>What an API server refused, as it says it.</summary>
internal sealed class KubeFault : Exception
{
    /// <summary>What a resourceVersion is answered with that is too old.</summary>
    internal const int Gone = 410;

    private KubeFault(int code, string? reason, string message, TimeSpan? retryAfter)
        : base(Secrets.Mask(message))
    {
        Code = code;
        Reason = reason;
        RetryAfter = retryAfter;
    }

    internal int Code { get; }
    internal string? Reason { get; }
    internal TimeSpan? RetryAfter { get; }

    internal bool IsMissing => Code == 404;
    internal bool IsThere => Code == 409 && Reason != "Conflict";

    /// <summary>It may be answered otherwise in a moment.</summary>
    internal bool Passes => Code is 429 or 500 or 502 or 503 or 504 || Reason is "ServerTimeout" or "Timeout";

    internal static KubeFault Of(HttpResponseMessage response, string body) =>
        Of(
            JsonText.TolerantObject(body),
            (int)response.StatusCode,
            body.Trim() is { Length: > 0 } text ? text[..Math.Min(text.Length, 500)] : response.ReasonPhrase ?? "",
            response.Headers.RetryAfter?.Delta
        );

    /// <summary>A Status object, as it also comes in the middle of a watch.</summary>
    internal static KubeFault Of(JsonObject? status, int code = 500, string text = "", TimeSpan? retryAfter = null)
    {
        var known = status.Str("kind") == "Status" ? status : null;
        return new KubeFault(
            known.Int("code") ?? code,
            known.Str("reason"),
            known.Str("message") ?? text,
            retryAfter
                ?? (
                    known.Int("details", "retryAfterSeconds") is { } seconds and > 0
                        ? TimeSpan.FromSeconds(seconds)
                        : null
                )
        );
    }

    /// <summary>True for what a server that is away, goes away or is too busy gives.</summary>
    internal static bool IsAway(Exception e) =>
        e is KubeFault { Passes: true }
        || e is IOException or HttpRequestException or TimeoutException or SocketException or ObjectDisposedException;

    /// <summary>In the words of whoever launches.</summary>
    internal static LaunchException Explain(Exception e, string server, string what) =>
        e switch
        {
            LaunchException known => known,
            KubeFault { Code: 401 } => new LaunchException(
                "KubernetesLoginFailed",
                LaunchErrorCategory.AuthenticationError,
                $"{server} does not take the login of the kubeconfig ({e.Message}). Log in again as for kubectl, or choose another with -KubeContext.",
                server,
                e
            ),
            KubeFault { Code: 403 } when e.Message.Contains("exceeded quota", StringComparison.Ordinal) =>
                new LaunchException(
                    "KubernetesQuotaExceeded",
                    LaunchErrorCategory.ResourceUnavailable,
                    $"The namespace has no quota left for {what}: {e.Message} Wait for others to end, or ask for more.",
                    what,
                    e
                ),
            KubeFault { Code: 403 } => new LaunchException(
                "KubernetesForbidden",
                LaunchErrorCategory.PermissionDenied,
                $"The cluster does not allow {what}: {e.Message} Which rights are needed is in about_WandbLaunch_Kubernetes.",
                what,
                e
            ),
            KubeFault { Code: 404 } => new LaunchException(
                "KubernetesNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"The cluster has not what {what} needs: {e.Message} Check -Namespace, and whether the kind is installed.",
                what,
                e
            ),
            KubeFault { Code: 400 or 413 or 415 or 422 } => new LaunchException(
                "KubernetesManifestInvalid",
                LaunchErrorCategory.InvalidData,
                $"The cluster does not take {what}: {e.Message} Correct it in resource_args.",
                what,
                e
            ),
            KubeFault { Passes: false } => new LaunchException(
                "KubernetesRefused",
                LaunchErrorCategory.InvalidOperation,
                $"The cluster refused {what}: {e.Message}",
                what,
                e
            ),
            _ => new LaunchException(
                "KubernetesUnavailable",
                LaunchErrorCategory.ResourceUnavailable,
                $"The cluster at {server} does not answer ({(e is HttpRequestException ? e : e.InnerException ?? e).Message}). Check -KubeConfig and -KubeContext, and that 'kubectl get jobs' works.",
                server,
                e
            ),
        };
}
