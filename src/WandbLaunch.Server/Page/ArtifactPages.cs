using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>What the Artifacts views ask for: <c>/page/artifacts</c>, <c>/page/artifact</c>.</summary>
internal sealed class ArtifactPages(
    ProjectRepository projects,
    ArtifactRepository artifacts,
    CollectionRepository collections,
    RunRepository runs,
    UrlSigner signer
)
{
    private const int MostCollections = 500;
    private const int MostVersions = 200;
    private const int MostFiles = 500;
    private const int MostRuns = 100;

    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/page/artifacts", ListAsync).For(Right.Read);
        app.MapGet("/page/artifact", ShowAsync).For(Right.Read);
    }

    private Task ListAsync(HttpContext context)
    {
        var project = context.Request.Project(projects);
        var all = collections.List(project, null, sequencesOnly: false);
        return context.AnswerAsync(
            new
            {
                total = all.Count,
                artifacts = all.Take(MostCollections)
                    .Select(c =>
                    {
                        var members = artifacts.Members(c).FindAll(m => context.Caller().MayRead(m.Artifact.Entity));
                        return new
                        {
                            name = c.Name,
                            type = c.Type,
                            linked = c.Kind == CollectionRecord.Portfolio,
                            description = c.Description is null ? null : JsonLimits.Short(c.Description, 300),
                            versions = members.Count,
                            newest = members.Select(m => m.Version).FirstOrDefault(),
                            updatedAt = members.Select(m => m.Artifact.CreatedAt).FirstOrDefault() ?? c.CreatedAt,
                        };
                    }),
            }
        );
    }

    private Task ShowAsync(HttpContext context)
    {
        var request = context.Request;
        var project = request.Project(projects);
        var collection =
            collections.Find(project, request.Need("artifact"))
            ?? throw new RequestFault(404, "There is no such artifact.");
        // A portfolio may hold what is another team's.
        var caller = context.Caller();
        var members = artifacts.Members(collection).FindAll(m => caller.MayRead(m.Artifact.Entity));
        var wanted = request.Text("version");
        var shown =
            wanted is null ? members.FirstOrDefault()
            : artifacts.Member(collection, wanted) is { } found && caller.MayRead(found.Artifact.Entity) ? found
            : throw new RequestFault(404, $"This artifact has no version {JsonLimits.Short(wanted)}.");
        return context.AnswerAsync(
            new
            {
                name = collection.Name,
                type = collection.Type,
                linked = collection.Kind == CollectionRecord.Portfolio,
                description = collection.Description,
                total = members.Count,
                versions = members
                    .Take(MostVersions)
                    .Select(m => new
                    {
                        version = m.Version,
                        aliases = collections.Aliases(collection, m.Artifact.Id),
                        createdAt = m.Artifact.CreatedAt,
                        run = m.Artifact.Run,
                    }),
                shown = shown is null ? null : Version(shown, caller),
            }
        );
    }

    private object Version(Membership member, Caller caller)
    {
        var artifact = member.Artifact;
        var files = ArtifactManifest
            .Entries(artifacts.Manifest(artifact.Id))
            .OrderBy(f => f.Path, StringComparer.Ordinal)
            .ToList();
        var maker = artifact.Run is { } name ? runs.Find(artifact.Entity, artifact.Project, name) : null;
        var users = artifacts.UsedBy(artifact.Id);
        return new
        {
            version = member.Version,
            aliases = collections.Aliases(member.Collection, artifact.Id),
            digest = artifact.Digest,
            createdAt = artifact.CreatedAt,
            description = artifact.Description,
            metadata = PageRequests.Json(artifact.Metadata),
            count = files.Count,
            size = files.Sum(f => f.Size),
            files = files
                .Take(MostFiles)
                .Select(f => new
                {
                    name = f.Path,
                    size = f.Size,
                    url = Md5(f) is { } md5 ? Url(artifact, md5, caller) : null,
                }),
            // Who made it of what, and who made what of it.
            madeBy = maker is null
                ? null
                : new
                {
                    run = Run(maker),
                    of = artifacts
                        .Inputs(maker.Id)
                        .Where(i => caller.MayRead(i.Artifact.Entity))
                        .Select(i => Name(i.Artifact, i.UsedAs)),
                },
            usedBy = users
                .Take(MostRuns)
                .Select(runs.Find)
                .OfType<RunRecord>()
                .Where(r => caller.MayRead(r.Project.Entity))
                .Select(r => new { run = Run(r), made = artifacts.OfRun(r).Select(a => Name(a, null)) }),
            users = users.Count,
        };
    }

    private static object Run(RunRecord run) =>
        new
        {
            entity = run.Project.Entity,
            project = run.Project.Name,
            name = run.Name,
            displayName = JsonLimits.Short(run.DisplayName is { Length: > 0 } shown ? shown : run.Name, 300),
            state = run.State,
        };

    /// <summary>An artifact as a link names it.</summary>
    internal static object Name(ArtifactRecord artifact, string? usedAs) =>
        new
        {
            entity = artifact.Entity,
            project = artifact.Project,
            type = artifact.Type,
            name = artifact.Name,
            version = artifact.Version,
            usedAs,
        };

    // Of what is kept here, in the form of its address; what is elsewhere has none.
    private static string? Md5(ManifestEntry entry)
    {
        Span<byte> bytes = stackalloc byte[16];
        return !entry.IsReference && Convert.TryFromBase64String(entry.Digest, bytes, out var length) && length == 16
            ? Convert.ToHexString(bytes).ToLowerInvariant()
            : null;
    }

    // Good for an hour, as those of a run's files.
    private string Url(ArtifactRecord artifact, string md5, Caller caller)
    {
        var path = $"/artifacts/{Uri.EscapeDataString(artifact.Entity)}/{md5}";
        return path + "?" + signer.Sign("GET", path, DateTimeOffset.UtcNow.AddHours(1), caller.Pass);
    }
}
