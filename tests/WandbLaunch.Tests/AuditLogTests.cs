using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using WandbLaunch.Server;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Tests;

/// <summary>The log of who did what: in order, of a bounded age, and whole when the server ends.</summary>
public sealed class AuditLogTests
{
    private static readonly AuditQuery Everything = new(0, null, [], null, 100_000);

    [Fact]
    public void What_was_noted_is_there_after_the_end_in_its_order()
    {
        var path = Path.Combine(Fixture.NewFolder("audit"), "wandb.db");
        using (var database = new Database(path))
        using (var log = Log(database, path))
        {
            for (var i = 0; i < 12_000; i++)
            {
                Note(log, $"item {i}");
            }
        }

        using var again = new Database(path);
        var found = new AuditRepository(again).Page(Everything).Entries;
        Assert.Equal(Enumerable.Range(0, 12_000).Select(i => $"item {i}"), found.Select(e => e.Subject));
    }

    [Fact]
    public void Pages_follow_each_other()
    {
        var path = Path.Combine(Fixture.NewFolder("audit"), "wandb.db");
        using var database = new Database(path);
        using var log = Log(database, path);
        for (var i = 0; i < 25; i++)
        {
            Note(log, $"item {i}");
        }

        var seen = new List<string>();
        var (after, more) = (0L, true);
        while (more)
        {
            (var entries, more) = log.Page(Everything with { After = after, First = 10 });
            seen.AddRange(entries.Select(e => e.Subject));
            after = entries[^1].Id;
        }

        Assert.Equal(Enumerable.Range(0, 25).Select(i => $"item {i}"), seen);
    }

    [Fact]
    public void What_is_too_old_is_forgotten()
    {
        var path = Path.Combine(Fixture.NewFolder("audit"), "wandb.db");
        using var database = new Database(path);
        var entries = new AuditRepository(database);
        var old = new AuditRecord { At = Database.Before(TimeSpan.FromDays(91)), Subject = "old" };
        entries.Add([old, old with { At = Database.Before(TimeSpan.FromDays(89)), Subject = "young" }]);
        Assert.Equal(1, entries.Forget(TimeSpan.FromDays(90)));
        Assert.Equal("young", Assert.Single(entries.Page(Everything).Entries).Subject);
    }

    [Fact]
    public void Lines_and_lengths_of_others_are_bounded()
    {
        var path = Path.Combine(Fixture.NewFolder("audit"), "wandb.db");
        using var database = new Database(path);
        using var log = Log(database, path);
        var context = new DefaultHttpContext();
        context.Request.Headers.UserAgent = new string('x', 5_000);
        log.Add(
            context,
            UserDirectory.Owner,
            AuditAction.Changed,
            new AuditNote("test", null, null, "a\nb" + new string('y', 5_000))
        );
        var entry = Assert.Single(log.Page(Everything).Entries);
        Assert.StartsWith("a b", entry.Subject, StringComparison.Ordinal);
        Assert.True(entry.Subject.Length < 600 && entry.Client.Length < 300);
    }

    private static AuditLog Log(Database database, string path) =>
        new(
            new AuditRepository(database),
            new LaunchServerOptions(path, "127.0.0.1", 0, Fixture.Key),
            TimeProvider.System,
            NullLogger<AuditLog>.Instance
        );

    private static void Note(AuditLog log, string subject) =>
        log.Add(
            new DefaultHttpContext(),
            UserDirectory.Owner,
            AuditAction.Queued,
            new AuditNote("test", "e", "p", subject)
        );
}
