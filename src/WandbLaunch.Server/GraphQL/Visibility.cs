using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>An entity, as the object whose fields are asked for.</summary>
internal sealed record EntityRecord(string Name);

/// <summary>
/// What of an answer somebody may see. Every field of the schema passes here, whichever way led to it: what is another
/// team's is null, and out of lists. A record of a kind that is not named here is seen by admins alone.
/// </summary>
internal static class Visibility
{
    internal static object? Of(object? value, Caller caller) =>
        value switch
        {
            Row row when !IsSeen(row, caller) => null,
            Row row when row.GetValueOrDefault("edges") is Row[] edges => Connection(row, edges, caller),
            IEnumerable<Row> rows => rows.Where(r => IsSeen(r, caller)).ToArray(),
            _ => value,
        };

    private static bool IsSeen(Row row, Caller caller) =>
        row.Record switch
        {
            // Values of what is seen already: a payload, a page, a report.
            null => true,
            EntityRecord entity => caller.MayRead(entity.Name),
            ProjectRecord project => caller.MayRead(project.Entity),
            RunRecord run => caller.MayRead(run.Project.Entity),
            SweepRecord sweep => caller.MayRead(sweep.Project.Entity),
            ArtifactRecord artifact => caller.MayRead(artifact.Entity),
            CollectionRecord collection => caller.MayRead(collection.Entity),
            Membership membership => caller.MayRead(membership.Collection.Entity)
                && caller.MayRead(membership.Artifact.Entity),
            QueueRecord queue => caller.MayRead(queue),
            AgentRecord agent => caller.MayRead(agent.Entity),

            // They are found in their queue, sweep, run or project alone.
            ItemRecord or SweepAgentRecord or AlertRecord => true,
            _ => false,
        };

    private static Row Connection(Row page, Row[] edges, Caller caller)
    {
        var seen = Array.FindAll(edges, e => e.GetValueOrDefault("node") is not Row node || IsSeen(node, caller));
        if (seen.Length == edges.Length)
        {
            return page;
        }

        // Where the page ends stays: what comes after is asked for from there.
        var shown = new Row { Record = page.Record };
        foreach (var (name, value) in page)
        {
            shown[name] = value;
        }

        shown["edges"] = seen;
        if (page.GetValueOrDefault("totalCount") is int)
        {
            shown["totalCount"] = seen.Length;
        }

        return shown;
    }
}
