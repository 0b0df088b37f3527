using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Asks a registry (v2) whether it has an image, with docker's login for it.</summary>
internal sealed partial class RegistryClient(LaunchEnvironment environment)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(15);

    private static readonly string[] Manifests =
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ];

    /// <summary>What it has under a name. Null too where it cannot be asked: the push then says why.</summary>
    internal async Task<RegistryImage?> FindAsync(string image, CancellationToken token)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(token);
        limit.CancelAfter(Limit);
        try
        {
            // Where it sends to is not who was asked: neither a login nor a question for one goes there.
            using var client = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false })
            {
                MaxResponseContentBufferSize = 1 << 20,
            };
            var (address, repository) = AddressOf(image);
            var login = await RegistryLogin.ForAsync(environment, image, limit.Token);
            AuthenticationHeaderValue? authorization = null;
            for (var asked = false; ; asked = true)
            {
                using var request = new HttpRequestMessage(HttpMethod.Head, address);
                request.Headers.Authorization = authorization;
                foreach (var type in Manifests)
                {
                    request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(type));
                }

                using var response = await client.SendAsync(request, limit.Token);
                if (asked || response.StatusCode != HttpStatusCode.Unauthorized)
                {
                    return response.IsSuccessStatusCode
                        ? new RegistryImage(
                            response.Headers.TryGetValues("Docker-Content-Digest", out var digests)
                                ? digests.FirstOrDefault(d => d.StartsWith("sha256:", StringComparison.Ordinal))
                                : null
                        )
                        : null;
                }

                authorization = await AuthorizeAsync(client, response, repository, login, limit.Token);
            }
        }
        catch (Exception e) when (e is HttpRequestException or IOException or JsonException or UriFormatException)
        {
            return null;
        }
        catch (OperationCanceledException) when (!token.IsCancellationRequested)
        {
            return null;
        }
    }

    internal static (Uri Manifest, string Repository) AddressOf(string image)
    {
        var (name, tag) = EngineImageBuilder.SplitTag(image);
        var first = name.Split('/')[0];
        var isNamed =
            name.Contains('/', StringComparison.Ordinal)
            && (
                first.Contains('.', StringComparison.Ordinal)
                || first.Contains(':', StringComparison.Ordinal)
                || first == "localhost"
            );
        var host = isNamed && first is not ("docker.io" or "index.docker.io") ? first : "registry-1.docker.io";
        var repository =
            isNamed ? name[(first.Length + 1)..]
            : name.Contains('/', StringComparison.Ordinal) ? name
            : "library/" + name;

        // As docker does: no TLS for a registry of this machine.
        var here = first.Split(':')[0];
        var scheme =
            here == "localhost" || (IPAddress.TryParse(here, out var ip) && IPAddress.IsLoopback(ip))
                ? "http"
                : "https";
        return (new Uri($"{scheme}://{host}/v2/{repository}/manifests/{tag}"), repository);
    }

    private static async Task<AuthenticationHeaderValue?> AuthorizeAsync(
        HttpClient client,
        HttpResponseMessage response,
        string repository,
        AuthConfig? login,
        CancellationToken token
    )
    {
        var basic = login?.Password is { } password
            ? new AuthenticationHeaderValue(
                "Basic",
                Convert.ToBase64String(Encoding.UTF8.GetBytes($"{login.Username}:{password}"))
            )
            : null;
        if (response.Headers.WwwAuthenticate.FirstOrDefault(a => a.Scheme == "Bearer")?.Parameter is not { } challenge)
        {
            return basic;
        }

        var parts = Part().Matches(challenge).ToDictionary(m => m.Groups[1].Value, m => m.Groups[2].Value);
        if (
            !parts.TryGetValue("realm", out var realm)
            || !Uri.TryCreate(realm, UriKind.Absolute, out var place)
            || (place.Scheme != Uri.UriSchemeHttps && response.RequestMessage!.RequestUri!.Scheme == Uri.UriSchemeHttps)
        )
        {
            // None, or one to which the login would go in the clear.
            return null;
        }

        var service = parts.GetValueOrDefault("service") ?? "";
        var scope = $"repository:{repository}:pull";
        using var request = login?.IdentityToken is { } refresh
            ? new HttpRequestMessage(HttpMethod.Post, realm)
            {
                Content = new FormUrlEncodedContent(
                    new Dictionary<string, string>
                    {
                        ["grant_type"] = "refresh_token",
                        ["client_id"] = "wandb-launch",
                        ["service"] = service,
                        ["scope"] = scope,
                        ["refresh_token"] = refresh,
                    }
                ),
            }
            : new HttpRequestMessage(
                HttpMethod.Get,
                $"{realm}?service={Uri.EscapeDataString(service)}&scope={Uri.EscapeDataString(scope)}"
            );
        if (login?.IdentityToken is null)
        {
            request.Headers.Authorization = basic;
        }

        using var answer = await client.SendAsync(request, token);
        using var document = JsonDocument.Parse(await answer.Content.ReadAsStringAsync(token));
        return (document.RootElement.Text("token") ?? document.RootElement.Text("access_token")) is { } bearer
            ? new AuthenticationHeaderValue("Bearer", Secrets.Register(bearer))
            : null;
    }

    [GeneratedRegex(@"(\w+)=""([^""]*)""")]
    private static partial Regex Part();
}
