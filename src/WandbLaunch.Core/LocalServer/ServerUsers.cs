using System.Globalization;
using System.Net;
using System.Security;
using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.LocalServer;

/// <summary>A user of the launch server.</summary>
public sealed record LaunchServerUser
{
    /// <summary>Name; also of the user's own entity.</summary>
    public required string Name { get; init; }

    /// <summary>Admin, Member or ReadOnly.</summary>
    public required string Role { get; init; }

    /// <summary>Teams: the entities whose projects and queues are the user's too.</summary>
    public required IReadOnlyList<string> Teams { get; init; }

    /// <summary>When the user was made.</summary>
    public DateTimeOffset Created { get; init; }

    /// <summary>When the key was made.</summary>
    public DateTimeOffset KeyCreated { get; init; }

    /// <summary>The API key, where it was just made: the server keeps a hash alone, and nobody can show it again.</summary>
    public SecureString? Key { get; init; }

    /// <summary>SQLite file of the server.</summary>
    public required string Path { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Name;
}

/// <summary>What is said of a user; what is null stays as it is.</summary>
internal sealed record UserChange(string? Role, IReadOnlyList<string>? Teams, bool NewKey = false);

/// <summary>Users of a server of this machine, with its own key.</summary>
internal sealed class ServerUsers(LaunchServerInfo server)
{
    /// <summary>The server of a database, which must run.</summary>
    /// <exception cref="LaunchException"><c>ServerNotRunning</c>.</exception>
    internal static async Task<ServerUsers> OfAsync(string path, CancellationToken token) =>
        new(await LocalServers.NeedAsync(path, token));

    internal async Task<List<LaunchServerUser>> AllAsync(CancellationToken token)
    {
        using var answer = await LocalServers.AskAsync(server, HttpMethod.Get, "/users", null, Fault, token);
        return [.. answer.RootElement.GetProperty("users").EnumerateArray().Select(Read)];
    }

    /// <exception cref="LaunchException"><c>UserExists</c>, <c>UserInvalid</c>.</exception>
    internal async Task<LaunchServerUser> AddAsync(
        string name,
        string role,
        IReadOnlyList<string> teams,
        CancellationToken token
    )
    {
        using var answer = await LocalServers.AskAsync(
            server,
            HttpMethod.Post,
            "/users",
            new
            {
                name,
                role,
                teams,
            },
            (status, text) => Fault(status, text, name),
            token
        );
        return Read(answer.RootElement);
    }

    /// <exception cref="LaunchException"><c>UserNotFound</c>, <c>UserInvalid</c>.</exception>
    internal async Task<LaunchServerUser> ChangeAsync(string name, UserChange change, CancellationToken token)
    {
        using var answer = await LocalServers.AskAsync(
            server,
            HttpMethod.Post,
            "/users/" + Uri.EscapeDataString(name),
            new
            {
                role = change.Role,
                teams = change.Teams,
                newKey = change.NewKey,
            },
            (status, text) => Fault(status, text, name),
            token
        );
        return Read(answer.RootElement);
    }

    /// <exception cref="LaunchException"><c>UserNotFound</c>.</exception>
    internal async Task<LaunchServerUser> RemoveAsync(string name, CancellationToken token)
    {
        using var answer = await LocalServers.AskAsync(
            server,
            HttpMethod.Delete,
            "/users/" + Uri.EscapeDataString(name),
            null,
            (status, text) => Fault(status, text, name),
            token
        );
        return Read(answer.RootElement);
    }

    /// <summary>That there is none of a name.</summary>
    internal LaunchException Missing(string name) =>
        new(
            "UserNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"The server of {server.Path} has no user {name}. List them with Get-WandbLaunchServerUser.",
            name
        );

    private static LaunchException? Fault(HttpStatusCode status, string text) => Fault(status, text, null);

    private static LaunchException? Fault(HttpStatusCode status, string text, string? name) =>
        status switch
        {
            HttpStatusCode.Conflict => new LaunchException(
                "UserExists",
                LaunchErrorCategory.ResourceExists,
                $"{text} Change it with Set-WandbLaunchServerUser.",
                name
            ),
            HttpStatusCode.NotFound => new LaunchException(
                "UserNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"{text} List them with Get-WandbLaunchServerUser.",
                name
            ),
            HttpStatusCode.BadRequest => new LaunchException(
                "UserInvalid",
                LaunchErrorCategory.InvalidArgument,
                text,
                name
            ),
            _ => null,
        };

    private LaunchServerUser Read(JsonElement user) =>
        new()
        {
            Name = user.GetProperty("name").GetString()!,
            Role = user.GetProperty("role").GetString()!,
            Teams = [.. user.GetProperty("teams").EnumerateArray().Select(t => t.GetString()!)],
            Created = Time(user.GetProperty("createdAt")),
            KeyCreated = Time(user.GetProperty("keyAt")),
            Key = user.GetProperty("key").GetString() is { } key ? Secure(key) : null,
            Path = server.Path,
        };

    private static DateTimeOffset Time(JsonElement text) =>
        DateTimeOffset.Parse(text.GetString()!, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);

    private static SecureString Secure(string key)
    {
        var secure = new SecureString();
        foreach (var sign in Secrets.Register(key))
        {
            secure.AppendChar(sign);
        }

        secure.MakeReadOnly();
        return secure;
    }
}
