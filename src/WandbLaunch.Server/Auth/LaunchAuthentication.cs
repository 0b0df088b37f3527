using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Auth;

/// <summary>The server's key.</summary>
internal sealed class ServerKey(string key)
{
    private readonly byte[] _key = Encoding.UTF8.GetBytes(key);

    internal ReadOnlySpan<byte> Bytes => _key;

    internal bool Is(ReadOnlySpan<byte> given) => CryptographicOperations.FixedTimeEquals(given, _key);
}

/// <summary>Nothing is to be set.</summary>
internal sealed class LaunchAuthenticationOptions : AuthenticationSchemeOptions;

/// <summary>
/// Who a request is from: a program with a key (Bearer, Basic), an address that was signed for this method and path, a
/// page that has signed in (cookie and token), or the page that is only to be shown (the cookie alone).
/// </summary>
internal sealed class LaunchAuthenticationHandler(
    IOptionsMonitor<LaunchAuthenticationOptions> options,
    ILoggerFactory loggers,
    UrlEncoder encoder,
    UserDirectory users,
    UrlSigner signer,
    Sessions sessions
) : AuthenticationHandler<LaunchAuthenticationOptions>(options, loggers, encoder)
{
    internal const string SchemeName = "WandbLaunch";

    /// <summary>Claim: how far this reaches.</summary>
    internal const string Reach = "reach";

    /// <summary>All that there is for whoever it is: see <see cref="AccessRules"/>.</summary>
    internal const string Everything = "everything";

    /// <summary>The empty page.</summary>
    internal const string Page = "page";

    private static readonly AuthenticateResult PageOnly = AuthenticateResult.Success(
        new AuthenticationTicket(
            new ClaimsPrincipal(new ClaimsIdentity([new Claim(Reach, Page)], SchemeName)),
            SchemeName
        )
    );

    /// <summary>Name of the session's cookie: cookies are shared by all ports of a host.</summary>
    internal static string CookieName(HttpContext context) =>
        "wandblaunch_" + context.Connection.LocalPort.ToString(System.Globalization.CultureInfo.InvariantCulture);

    protected override Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var cookie = Request.Cookies[CookieName(Context)];
        var caller =
            OfKey()
            ?? (
                (signer.Verify(Request) ?? sessions.Find(cookie, Request.Headers[Sessions.TokenHeader])) is { } pass
                    ? users.FindByPass(pass)
                    : null
            );
        if (caller is not null)
        {
            Context.Features.Set(caller);
            return Task.FromResult(caller.Ticket);
        }

        return Task.FromResult(sessions.IsKnown(cookie) ? PageOnly : AuthenticateResult.NoResult());
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        // Not Basic: a browser would ask for the key, and send it with every request from then on, whoever causes it.
        Response.Headers.WWWAuthenticate = "Bearer realm=\"WandbLaunch\"";
        Response.StatusCode = 401;
        return
            HttpMethods.IsGet(Request.Method)
            && Request.Headers.Accept.ToString().Contains("text/html", StringComparison.OrdinalIgnoreCase)
            ? PageEndpoints.WriteAsync(Context)
            : FaultAnswers.WriteAsync(Context, 401, "invalid API key");
    }

    // Half of a session is no less a stranger than none.
    protected override Task HandleForbiddenAsync(AuthenticationProperties properties) =>
        HandleChallengeAsync(properties);

    private Caller? OfKey()
    {
        var header = Request.Headers.Authorization.ToString();
        byte[] given;
        try
        {
            given =
                header.StartsWith("Basic ", StringComparison.OrdinalIgnoreCase) ? Convert.FromBase64String(header[6..])
                : header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase)
                    ? Encoding.UTF8.GetBytes(":" + header[7..])
                : [];
        }
        catch (FormatException)
        {
            return null;
        }

        var colon = Array.IndexOf(given, (byte)':');
        return colon >= 0 ? users.Find(given.AsSpan(colon + 1)) : null;
    }
}
