using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;

namespace WandbLaunch.LocalServer;

/// <summary>Something that somebody did on the launch server, or was refused.</summary>
public sealed record LaunchServerAuditEntry
{
    /// <summary>Number, in the order in which things happened.</summary>
    public long Id { get; init; }

    /// <summary>When.</summary>
    public DateTimeOffset Time { get; init; }

    /// <summary>Who; local is whoever has the server's own key.</summary>
    public required string User { get; init; }

    /// <summary>Queued, Popped, Created, Changed, Deleted, SignedIn or Refused.</summary>
    public required string Action { get; init; }

    /// <summary>What it was done to.</summary>
    public required string Subject { get; init; }

    /// <summary>Entity of it, where there is one.</summary>
    public string? Entity { get; init; }

    /// <summary>Project of it, where there is one.</summary>
    public string? Project { get; init; }

    /// <summary>The request: a mutation of the API, or an address of the server.</summary>
    public required string Operation { get; init; }

    /// <summary>The program, as it calls itself.</summary>
    public required string Client { get; init; }

    /// <summary>Address that it came from.</summary>
    public required string Address { get; init; }

    /// <summary>SQLite file of the server.</summary>
    public required string Path { get; init; }

    /// <inheritdoc/>
    public override string ToString() => $"{User} {Action} {Subject}";
}

/// <summary>The log of a server of this machine.</summary>
internal static class ServerAudit
{
    /// <summary>Entries, the oldest first, page by page.</summary>
    internal static async IAsyncEnumerable<IReadOnlyList<LaunchServerAuditEntry>> PagesAsync(
        LaunchServerInfo server,
        DateTimeOffset? since,
        string? user,
        IReadOnlyList<string> actions,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var query = string.Concat(actions.Select(a => "&action=" + Uri.EscapeDataString(a)));
        if (since is { } from)
        {
            query += "&since=" + Uri.EscapeDataString(from.UtcDateTime.ToString("o", CultureInfo.InvariantCulture));
        }

        if (user is not null)
        {
            query += "&user=" + Uri.EscapeDataString(user);
        }

        var after = 0L;
        bool more;
        do
        {
            using var answer = await LocalServers.AskAsync(
                server,
                HttpMethod.Get,
                string.Create(CultureInfo.InvariantCulture, $"/audit?after={after}{query}"),
                null,
                (_, _) => null,
                token
            );
            var page = answer
                .RootElement.GetProperty("entries")
                .EnumerateArray()
                .Select(e => Read(e, server.Path))
                .ToList();
            yield return page;
            more = answer.RootElement.GetProperty("more").GetBoolean();
            after = page.Count == 0 ? after : page[^1].Id;
        } while (more);
    }

    private static LaunchServerAuditEntry Read(JsonElement entry, string path)
    {
        return new LaunchServerAuditEntry
        {
            Id = entry.GetProperty("id").GetInt64(),
            Time = DateTimeOffset.Parse(Text("at")!, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal),
            User = Text("user")!,
            Action = Text("action")!,
            Subject = Text("subject")!,
            Entity = Text("entity"),
            Project = Text("project"),
            Operation = Text("operation")!,
            Client = Text("client")!,
            Address = Text("address")!,
            Path = path,
        };

        string? Text(string name) => entry.GetProperty(name).GetString();
    }
}
