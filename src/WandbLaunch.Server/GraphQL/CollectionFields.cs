using System.Globalization;
using GraphQL;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Types of artifacts, and their collections: sequences and portfolios.</summary>
internal sealed class CollectionFields(
    ArtifactRepository artifacts,
    CollectionRepository collections,
    ProjectRepository projects
) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set(
            "Query",
            "artifactCollection",
            c => Show(collections.Find(Ids.Parse("ArtifactCollection", c.GetArgument<string>("id"))))
        );
        AddToProject(fields);
        AddTypes(fields);
        foreach (var type in new[] { "ArtifactSequence", "ArtifactPortfolio" })
        {
            AddCollection(fields, type);
        }

        fields.Set(
            "ArtifactSequence",
            "latestArtifact",
            c => artifacts.Member(c.Of<CollectionRecord>(), "latest") is { } found ? Rows.Of(found.Artifact) : null
        );
        fields.Set("ArtifactCollectionMembership", "aliases", c => Aliases(c.Of<Membership>(), collections).ToList());
    }

    /// <summary>The aliases that a version has in a collection, vN among them.</summary>
    internal static IEnumerable<Row> Aliases(Membership membership, CollectionRepository collections)
    {
        IEnumerable<string> aliases = collections.Aliases(membership.Collection, membership.Artifact.Id);
        if (membership.Version is { } version)
        {
            aliases = aliases.Append("v" + version.ToString(CultureInfo.InvariantCulture));
        }

        return aliases.Select(a => Alias(membership.Collection, a, membership.Artifact));
    }

    private static Row Alias(CollectionRecord collection, string alias, ArtifactRecord? artifact) =>
        new()
        {
            ["id"] = Ids.Encode($"ArtifactAlias:{Ids.Text(collection.Id)}:{alias}"),
            ["alias"] = alias,
            ["artifactCollectionName"] = collection.Name,
            ["artifactCollection"] = Rows.Of(collection),
            ["artifact"] = artifact is null ? null : Rows.Of(artifact),
        };

    private void AddToProject(SchemaFields fields)
    {
        fields.Set(
            "Project",
            "artifactType",
            c =>
                c.Of<ProjectRecord>() is var project && c.GetArgument<string>("name") is var name
                    ? collections.Types(project).FirstOrDefault(t => t.Name == name) is { } found
                        ? Type(project, found)
                        // Jobs are asked for before there is one.
                        : name == "job"
                            ? Type(project, new ArtifactTypeRecord { Name = name, CreatedAt = project.CreatedAt })
                            : null
                    : null
        );
        fields.Set(
            "Project",
            "artifactTypes",
            c =>
                Row.Page(
                    [.. collections.Types(c.Of<ProjectRecord>()).Select(t => Type(c.Of<ProjectRecord>(), t))],
                    r => (string)r["name"]!,
                    c.GetArgument<string?>("after"),
                    c.First(100)
                )
        );
        fields.Set(
            "Project",
            "artifactCollection",
            c => Show(collections.Find(c.Of<ProjectRecord>(), c.GetArgument<string>("name")))
        );
        fields.Set("Project", "artifactCollections", c => List(c, c.Of<ProjectRecord>(), null, false));
        fields.Set(
            "Project",
            "artifactCollectionMembership",
            c =>
                artifacts.Member(c.Of<ProjectRecord>(), c.GetArgument<string>("name")) is { } found
                    ? Rows.Of(found)
                    : null
        );
    }

    private void AddTypes(SchemaFields fields)
    {
        fields.Set(
            "ArtifactType",
            "project",
            c =>
                c.Of<ProjectRecord>() is { } named && projects.Find(named.Entity, named.Name) is { } project
                    ? Rows.Of(project)
                    : null
        );
        fields.Set(
            "ArtifactType",
            "artifact",
            c =>
                artifacts.Find(c.Of<ProjectRecord>(), c.GetArgument<string>("name")) is { } found
                && found.Type == Name(c)
                    ? Rows.Of(found)
                    : null
        );
        foreach (var (field, isSequence) in new[] { ("artifactCollection", false), ("artifactSequence", true) })
        {
            fields.Set(
                "ArtifactType",
                field,
                c =>
                    collections.Find(c.Of<ProjectRecord>(), c.GetArgument<string>("name")) is { } found
                    && found.Type == Name(c)
                    && (!isSequence || found.Kind == CollectionRecord.Sequence)
                        ? Rows.Of(found)
                        : null
            );
        }

        foreach (var (field, isSequence) in new[] { ("artifactCollections", false), ("artifactSequences", true) })
        {
            fields.Set("ArtifactType", field, c => List(c, c.Of<ProjectRecord>(), Name(c), isSequence));
        }
    }

    private void AddCollection(SchemaFields fields, string type)
    {
        fields.Set(
            type,
            "project",
            c =>
                projects.Find(c.Of<CollectionRecord>().Entity, c.Of<CollectionRecord>().Project) is { } found
                    ? Rows.Of(found)
                    : null
        );
        fields.Set(
            type,
            "defaultArtifactType",
            c => new Row
            {
                Record = new ProjectRecord
                {
                    Entity = c.Of<CollectionRecord>().Entity,
                    Name = c.Of<CollectionRecord>().Project,
                },
                ["id"] = Ids.Encode("ArtifactType:" + c.Of<CollectionRecord>().Type),
                ["name"] = c.Of<CollectionRecord>().Type,
                ["createdAt"] = c.Of<CollectionRecord>().CreatedAt,
                ["description"] = null,
            }
        );
        fields.Set(
            type,
            "aliases",
            c =>
                Row.Page(
                    [
                        .. collections
                            .Aliases(c.Of<CollectionRecord>())
                            .Select(a => Alias(c.Of<CollectionRecord>(), a.Alias, null)),
                    ],
                    r => (string)r["alias"]!,
                    c.GetArgument<string?>("after"),
                    c.First(1000)
                )
        );
        fields.Set(type, "artifacts", Versions);
        fields.Set(
            type,
            "artifactMembership",
            c =>
                artifacts.Member(c.Of<CollectionRecord>(), c.GetArgument<string>("aliasName")) is { } found
                    ? Rows.Of(found)
                    : null
        );
        fields.Set(
            type,
            "artifactMemberships",
            c =>
                Row.Page(
                    [.. Members(c).Select(Rows.Of)],
                    r => (string)r["id"]!,
                    c.GetArgument<string?>("after"),
                    c.First(100)
                )
        );
    }

    private Row Versions(IResolveFieldContext c)
    {
        var members = Members(c);
        var numbers = members.ToDictionary(m => Ids.Artifact(m.Artifact.Id), m => m.Version, StringComparer.Ordinal);
        var page = Row.Page(
            [.. members.Select(m => Rows.Of(m.Artifact))],
            r => (string)r["id"]!,
            c.GetArgument<string?>("after"),
            c.First(100)
        );
        foreach (var edge in (Row[])page["edges"]!)
        {
            edge["version"] = numbers[(string)edge["cursor"]!] is { } number
                ? "v" + number.ToString(CultureInfo.InvariantCulture)
                : null;
        }

        return page;
    }

    // Newest first, or as it is ordered.
    private List<Membership> Members(IResolveFieldContext c)
    {
        var members = artifacts.Members(c.Of<CollectionRecord>());
        if (c.GetArgument<string?>("filters") is { Length: > 0 } filters && filters.Trim() is not ("{}" or "null"))
        {
            var matches = CollectionFilters.Versions(filters);
            members = [.. members.Where(m => matches(m, collections))];
        }

        return c.GetArgument<string?>("order") is { Length: > 0 } order
            ? CollectionFilters.Order(
                members,
                order,
                new Dictionary<string, Func<Membership, object?>>(StringComparer.OrdinalIgnoreCase)
                {
                    ["createdAt"] = m => m.Artifact.CreatedAt,
                    ["updatedAt"] = m => m.Artifact.UpdatedAt,
                    ["versionIndex"] = m => m.Version,
                    ["version"] = m => m.Version,
                    ["name"] = m => m.Version,
                    ["id"] = m => m.Artifact.Id,
                }
            )
            : members;
    }

    private Row List(IResolveFieldContext c, ProjectRecord project, string? type, bool sequencesOnly)
    {
        var found = collections.List(project, type, sequencesOnly);
        if (
            c.HasArgument("filters")
            && c.GetArgument<string?>("filters") is { Length: > 0 } filters
            && filters.Trim() is not ("{}" or "null")
        )
        {
            var matches = CollectionFilters.Collections(filters);
            found = [.. found.Where(matches)];
        }

        if (c.HasArgument("order") && c.GetArgument<string?>("order") is { Length: > 0 } order)
        {
            found = CollectionFilters.Order(
                found,
                order,
                new Dictionary<string, Func<CollectionRecord, object?>>(StringComparer.OrdinalIgnoreCase)
                {
                    ["name"] = f => f.Name,
                    ["createdAt"] = f => f.CreatedAt,
                    ["updatedAt"] = f => f.UpdatedAt,
                    ["id"] = f => f.Id,
                }
            );
        }

        return Row.Page(
            [.. found.Select(Rows.Of)],
            r => (string)r["name"]!,
            c.GetArgument<string?>("after"),
            c.First(100)
        );
    }

    private static Row Type(ProjectRecord project, ArtifactTypeRecord type) =>
        new()
        {
            Record = project,
            ["id"] = Ids.Encode("ArtifactType:" + type.Name),
            ["name"] = type.Name,
            ["description"] = type.Description,
            ["createdAt"] = type.CreatedAt,
        };

    private static string Name(IResolveFieldContext c) => (string)((Row)c.Source!)["name"]!;

    private static Row? Show(CollectionRecord? collection) => collection is null ? null : Rows.Of(collection);
}
